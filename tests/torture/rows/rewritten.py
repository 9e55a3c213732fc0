"""A file is written anew, in place, by a rename, or after a truncation, at a random moment of its job."""

from __future__ import annotations

import mmap
import os
import time

from tests.torture import bouts
from tests.torture.bouts import Bout, Ring
from tests.torture.crowd import Actor
from tests.torture.report import Report

NAME = "rewritten"
ASKS = "a file rewritten at a random moment of its job: the newest content survives every time"


def by_rename(ring: Ring, bout: Bout) -> Actor:
    """Once, or several times in a row."""
    yield from _first(ring, bout)
    for _ in range(ring.dice.choice((1, 1, 1, 2, 4))):
        _renew(ring, bout)
        ring.rename_over(bout.path, bout.data)
        yield ring.moment_s() / 4


def in_place(ring: Ring, bout: Bout) -> Actor:
    yield from _first(ring, bout)
    yield from _rewrite(ring, bout, os.O_WRONLY)


def truncated(ring: Ring, bout: Bout) -> Actor:
    yield from _first(ring, bout)
    yield from _rewrite(ring, bout, os.O_WRONLY | os.O_TRUNC)


def removed_and_made_anew(ring: Ring, bout: Bout) -> Actor:
    yield from _first(ring, bout)
    bout.path.unlink()
    yield ring.dice.choice((0.0, 0.001, 0.02))
    yield from _rewrite(ring, bout, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def moved_away_and_made_anew(ring: Ring, bout: Bout) -> Actor:
    yield from _first(ring, bout)
    bout.path.rename(ring.staged / f"away-{bout.path.name}")
    yield from _rewrite(ring, bout, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def through_a_mapping(ring: Ring, bout: Bout) -> Actor:
    yield from _first(ring, bout)
    began_ms = _now_ms()
    descriptor = os.open(bout.path, os.O_RDWR)
    try:
        _renew(ring, bout)
        os.ftruncate(descriptor, len(bout.data))
        window = mmap.mmap(descriptor, len(bout.data))
    finally:
        os.close(descriptor)
    with window:
        half = len(bout.data) // 2
        window[half:] = bout.data[half:]
        yield ring.moment_s() / 4
        window[:half] = bout.data[:half]
        bout.truth.unready_ms.append((began_ms, _now_ms()))


def by_two_at_once(ring: Ring, bout: Bout) -> Actor:
    """One writes in place while another renames over it: the renamed one stands there in the end."""
    yield from _first(ring, bout)
    descriptor = os.open(bout.path, os.O_WRONLY)
    try:
        yield ring.moment_s() / 4
        number = ring.mark()
        _renew(ring, bout)
        ring.rename_over(bout.path, bout.data)
        os.write(descriptor, ring.picture(number))
        yield ring.moment_s() / 4
    finally:
        os.close(descriptor)


def _first(ring: Ring, bout: Bout) -> Actor:
    _renew(ring, bout)
    ring.drop(bout.path, bout.data)
    yield ring.moment_s()


def _renew(ring: Ring, bout: Bout) -> None:
    number = ring.mark()
    bout.now_holds(ring.picture(number), number)


def _rewrite(ring: Ring, bout: Bout, flags: int) -> Actor:
    """Write a new content in one to three pieces, with pauses between."""
    began_ms = _now_ms()
    _renew(ring, bout)
    descriptor = os.open(bout.path, flags, 0o644)
    try:
        piece = len(bout.data) // ring.dice.choice((1, 2, 3)) + 1
        for at in range(0, len(bout.data), piece):
            os.pwrite(descriptor, bout.data[at : at + piece], at)
            yield ring.moment_s() / 4
        os.ftruncate(descriptor, len(bout.data))
        bout.truth.unready_ms.append((began_ms, _now_ms()))
    finally:
        os.close(descriptor)


def _now_ms() -> float:
    return time.time() * 1000


FIGHTS: dict[str, bouts.Fight] = {
    "by a rename": by_rename,
    "in place": in_place,
    "truncated and written": truncated,
    "removed and made anew": removed_and_made_anew,
    "moved away and made anew": moved_away_and_made_anew,
    "through a mapping": through_a_mapping,
    "by two at once": by_two_at_once,
}


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    return bouts.run(NAME, FIGHTS, seconds, seed, rounds)
