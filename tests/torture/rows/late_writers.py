"""A writer that opened the file before the exchange and writes after it: into the inode that is put aside.

It writes a new mark over the old one, in place, or appends. The moments are random; half of the writers watch the path
and write right after another file has come to stand there, which is as late as it gets.
"""

from __future__ import annotations

import os
import time

from tests.torture import bouts, material
from tests.torture.bouts import Bout, Ring
from tests.torture.crowd import Actor
from tests.torture.proof import Content
from tests.torture.report import Report

NAME = "late-writers"
ASKS = "a writer that opened the file before the exchange and writes after it: its bytes stand at the path in the end"

LOOK_S = 0.0005
PATIENCE_S = 0.3
SPIN_S = 0.06


def overwriting(ring: Ring, bout: Bout) -> Actor:
    """Opens at some moment, writes at some later one."""
    descriptor = yield from _dropped_and_opened(ring, bout)
    try:
        yield ring.moment_s() / 2
        _overwrite(ring, bout, descriptor)
    finally:
        os.close(descriptor)


def appending(ring: Ring, bout: Bout) -> Actor:
    descriptor = yield from _dropped_and_opened(ring, bout)
    try:
        yield ring.moment_s() / 2
        _append(ring, bout, descriptor)
    finally:
        os.close(descriptor)


def overwriting_once_displaced(ring: Ring, bout: Bout) -> Actor:
    """Keeps the file open and writes as soon as the path names another, or never does."""
    descriptor = yield from _dropped_and_opened(ring, bout)
    try:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s and not _displaced(bout, descriptor):
            yield LOOK_S
        _overwrite(ring, bout, descriptor)
    finally:
        os.close(descriptor)


def opening_again_and_again(ring: Ring, bout: Bout) -> Actor:
    """Opens and closes until a file is displaced under its hands: most likely to come between check and exchange."""
    yield from _dropped(ring, bout)
    until_s = time.monotonic() + SPIN_S
    descriptor = os.open(bout.path, os.O_RDWR)
    while time.monotonic() < until_s:
        spins_s = time.monotonic() + ring.dice.uniform(0, 0.0006)
        while time.monotonic() < spins_s and not (displaced := _displaced(bout, descriptor)):
            pass
        if displaced:
            break
        os.close(descriptor)
        time.sleep(ring.dice.uniform(0, 0.0006))
        descriptor = os.open(bout.path, os.O_RDWR)
    try:
        (_append if ring.dice.random() < 0.3 else _overwrite)(ring, bout, descriptor)
    finally:
        os.close(descriptor)


def _dropped(ring: Ring, bout: Bout) -> Actor:
    number = ring.mark()
    bout.now_holds(ring.picture(number, jpeg=True), number)
    ring.drop(bout.path, bout.data)
    yield ring.moment_s()


def _dropped_and_opened(ring: Ring, bout: Bout) -> bouts.Opening:
    yield from _dropped(ring, bout)
    return os.open(bout.path, os.O_RDWR)


def _displaced(bout: Bout, descriptor: int) -> bool:
    return os.stat(bout.path).st_ino != os.fstat(descriptor).st_ino


def _overwrite(ring: Ring, bout: Bout, descriptor: int) -> None:
    """The mark alone; what else stands in the file stays. A result has its mark where the original had it, or it is
    looked for."""
    data = os.pread(descriptor, 1 << 20, 0)
    at = data.find(material.mark_of(bout.number))
    if at < 0:
        raise AssertionError(f"the mark is not in {bout.path}, {len(data)} bytes")
    number = ring.mark()
    _tell(bout, descriptor)
    os.pwrite(descriptor, material.mark_of(number), at)
    # Whatever it was written to is whole now: the original or the result, with the new mark.
    mark = material.mark_of(number)
    bout.now_holds(bout.data.replace(material.mark_of(bout.number), mark), number)
    bout.truth.contents.append(Content.of(data[:at] + mark + data[at + len(mark) :]))


def _append(ring: Ring, bout: Bout, descriptor: int) -> None:
    bout.tail = b"appended %d" % ring.mark()
    data = os.pread(descriptor, 1 << 20, 0)
    _tell(bout, descriptor)
    os.pwrite(descriptor, bout.tail, len(data))
    bout.truth.contents.append(Content.of(data + bout.tail))


def _tell(bout: Bout, descriptor: int) -> None:
    if _displaced(bout, descriptor):
        bout.note = "wrote into a displaced file"


FIGHTS: dict[str, bouts.Fight] = {
    "overwriting": overwriting,
    "appending": appending,
    "overwriting once displaced": overwriting_once_displaced,
    "opening again and again": opening_again_and_again,
}


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    return bouts.run(NAME, FIGHTS, seconds, seed, rounds)
