"""Writers that take their time: in pieces, with pauses, the file kept open, or closed between the pieces.

Pieces come in order. Who closes between pieces writes pictures: of other contents no beginning can be told from the
whole. A pause that this machine stretched to a good part of `settle` and more spoils the trial, which is not counted.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon
from tests.torture import material
from tests.torture.crowd import Actor, crowd
from tests.torture.ledger import Ledger, left_unfinished
from tests.torture.proof import Content, Truth, judge
from tests.torture.report import Report, say

NAME = "slow-writers"
ASKS = "slow and pausing writers that keep the file open, or close between pieces: 0 read before complete"

SETTLE_S = 1.0
LONGEST_PAUSE_S = 10.0
LONGEST_GAP_S = 0.6
"""Of those that close between pieces."""
SPOILED_S = 0.8 * SETTLE_S
AT_ONCE = 250
LARGEST_BYTES = 100 << 20
TAIL_S = 15.0
"""Kept for the last writers to end and the daemon to catch up."""


@dataclass(slots=True)
class Trial:
    kind: str
    truth: Truth = field(default_factory=Truth)
    spoiled: bool = False


@dataclass(slots=True)
class Writers:
    folder: Path
    dice: random.Random
    ends_s: float
    limit: int | None
    trials: dict[bytes, Trial] = field(default_factory=dict)

    def hire(self) -> Actor | None:
        number = len(self.trials)
        if time.monotonic() >= self.ends_s or number == self.limit:
            return None
        name = b"%06d.img" % number
        way, kind = self.dice.choices(WAYS, (6, 1, 5))[0]
        self.trials[name] = trial = Trial(kind)
        return way(self, self.folder / os.fsdecode(name), trial, number)

    def pause_s(self) -> float:
        """Mostly short, so that hundreds may run; now and then as long as it gets."""
        left_s = max(0.0, self.ends_s - time.monotonic())
        return min(left_s + 1.0, LONGEST_PAUSE_S, self.dice.choice((0.02, 0.3, 0.3, 3.0)) * self.dice.expovariate(1.0))


def keeping_open(writers: Writers, path: Path, trial: Trial, number: int) -> Actor:
    """One open, many writes, one close."""
    data, trial.truth.picture = _content(writers.dice, number)
    trial.truth.contents.append(Content.of(data))
    trial.truth.unready_ms.append((0, float("inf")))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    if writers.dice.random() < 0.1:
        os.ftruncate(descriptor, len(data))  # as downloaders do, who know the size before
    for piece in _pieces(writers.dice, data):
        _write_all(descriptor, piece)
        yield writers.pause_s()
    trial.truth.unready_ms[0] = (0, _now_ms())
    os.close(descriptor)


def keeping_large_open(writers: Writers, path: Path, trial: Trial, number: int) -> Actor:
    """Up to 100 MB, written as fast as the disk takes it, in large pieces."""
    size = int(LARGEST_BYTES * writers.dice.random() ** 6) + 100_000
    trial.truth.picture = False
    trial.truth.unready_ms.append((0, float("inf")))
    data = material.text(writers.dice, number, 100_000)
    data += bytes(size - len(data))
    trial.truth.contents.append(Content.of(data))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    step = max(1 << 16, size // writers.dice.randint(2, 12))
    for at in range(0, size, step):
        _write_all(descriptor, data[at : at + step])
        yield writers.pause_s()
    trial.truth.unready_ms[0] = (0, _now_ms())
    os.close(descriptor)


def closing_between(writers: Writers, path: Path, trial: Trial, number: int) -> Actor:
    """Opened to append, written and closed again for each piece."""
    size = int(10 ** writers.dice.uniform(2.8, 5.3))
    data = material.picture(writers.dice, number, size)
    trial.truth.contents.append(Content.of(data))
    trial.truth.unready_ms.append((0, float("inf")))
    closed_s = time.monotonic()
    pieces = _pieces(writers.dice, data)
    for at, piece in enumerate(pieces):
        opened_s, opened_ms = time.monotonic(), _now_ms()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        _write_all(descriptor, piece)
        os.close(descriptor)
        trial.spoiled = trial.spoiled or time.monotonic() - closed_s > SPOILED_S or opened_s - closed_s > SPOILED_S
        closed_s = time.monotonic()
        if at == len(pieces) - 1:
            trial.truth.unready_ms[0] = (0, opened_ms)
        yield writers.dice.uniform(0.0, LONGEST_GAP_S) ** 2 / LONGEST_GAP_S


Way = Callable[[Writers, Path, Trial, int], Actor]
WAYS: tuple[tuple[Way, str], ...] = (
    (keeping_open, "kept open"),
    (keeping_large_open, "kept open, large"),
    (closing_between, "closed between"),
)


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    report = Report()
    with Daemon(settle=f"{SETTLE_S:g}s") as daemon:
        daemon.start()
        ends_s = time.monotonic() + max(seconds * 0.5, seconds - TAIL_S)
        writers = Writers(daemon.watched, random.Random(seed), ends_s, rounds)
        crowd(writers.hire, AT_ONCE)
        ledger = Ledger(daemon)
        trials = {name: trial for name, trial in writers.trials.items() if not trial.spoiled}
        missed = left_unfinished(ledger, trials)
        lives = ledger.lives()
        failed: Counter[str] = Counter()
        for name, trial in trials.items():
            signs = judge(lives[name], trial.truth) if name in lives else []
            signs += ["missed: it never ended"] if name in missed else []
            failed[trial.kind] += bool(signs)
            if signs:
                report.fail(f"seed {seed}, {os.fsdecode(name)}, {trial.kind}: {'; '.join(signs)}")
        report.rounds = len(trials)
        for _, kind in WAYS:
            made = sum(trial.kind == kind for trial in trials.values())
            report.figures[kind] = f"{made} files, {failed[kind]} of them failed"
        report.figures["spoiled by a slow machine, not counted"] = str(len(writers.trials) - len(trials))
    say(f"{NAME}: {report.rounds} files")
    return report


def _content(dice: random.Random, number: int) -> tuple[bytes, bool]:
    """10 B to 1 MB, and whether it is a picture."""
    size = int(10 ** dice.uniform(1, 6))
    if size < 100 or dice.random() < 0.1:
        return material.text(dice, number, size), False
    return material.picture(dice, number, size), True


def _pieces(dice: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted({0, len(data), *(dice.randrange(len(data)) for _ in range(dice.randint(1, 8)))})
    return [data[begin:end] for begin, end in itertools.pairwise(cuts)]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _now_ms() -> float:
    return time.time() * 1000
