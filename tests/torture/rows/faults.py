"""Calls of the commit path that fail: once, or from the Nth on until the process ends.

First in a process that goes the daemon's way from a worker's result to the receipt (`tests.torture.committing`): the
cause ends with that process, and what a start of the daemon does, follows. Then in whole daemons that are not started
again, with real causes among the injected ones.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Collection, Iterator

from tests.torture.committing import WAYS
from tests.torture.lanes import lanes, share, side_by_side
from tests.torture.lives import SOON_S, Cause, Life, failing, no_descriptors, no_room, read_only
from tests.torture.points import Points
from tests.torture.report import Report
from tests.torture.strace import FILE_CALLS, needs_strace

NAME = "faults"
ASKS = "ENOSPC, EIO, EROFS, EMFILE, EACCES at the Nth call, once and for good: originals whole, no temp left"

ERRORS = ("ENOSPC", "EIO", "EROFS", "EMFILE", "EACCES")

REAL: list[tuple[str, Cause]] = [("no descriptors", no_descriptors)]
if os.geteuid() == 0:
    REAL += [("no room", no_room), ("read-only", read_only)]

LONG_SHARE = 0.1
LONGEST_S = 90.0
"""Some causes last: what waits meanwhile must not wait ever longer after their end."""


def run(seconds: float, seed: int, rounds: int | None = None, ways: Collection[str] = WAYS.keys()) -> Report:
    """`rounds`: at most that many, as the dice have it, and a tenth of it in whole daemons; else all of those ways."""
    needs_strace()
    end = time.monotonic() + seconds
    report = Report()
    injected = 0
    with Points() as points:
        calls = {way: points.calls(way) for way in ways}
    every = [
        (way, f"{call}:error={error}:when={number}{for_good}")
        for way in ways
        for call, times in calls[way].items()
        if call in FILE_CALLS
        for number in range(1, times + 1)
        for error in ERRORS
        for for_good in ("", "+")
    ]
    random.Random(seed).shuffle(every)

    def trial(points: Points, chosen: tuple[str, str]) -> None:
        nonlocal injected
        way, inject = chosen
        result = points.done_to(way, inject)
        report.rounds += 1
        injected += result.injected
        for wrong in result.wrong:
            report.fail(f"{way}, {inject}: {wrong}")

    side_by_side(every[:rounds], Points, trial, time.monotonic() + (end - time.monotonic()) / 2)
    report.figures = {"faults in the commit path": f"{report.rounds} of {len(every)}, {injected} calls failed"}
    _whole_daemons(report, random.Random(seed), end, rounds)
    return report


def _whole_daemons(report: Report, dice: random.Random, until_s: float, rounds: int | None) -> None:
    """Faults of any thread's calls, and real causes, while a file comes; the daemon is not started again."""
    with Life() as life:
        calls = {call: times for call, times in life.calls().items() if call in FILE_CALLS}
    took: list[float] = []

    def some() -> Iterator[tuple[str, Cause]]:
        for _ in itertools.count() if rounds is None else range(share(rounds) or 0):
            if dice.random() < 0.2:
                yield dice.choice(REAL)
                continue
            call = dice.choice(sorted(calls))
            inject = f"{call}:error={dice.choice(ERRORS)}:when={dice.randint(1, calls[call])}{dice.choice(['', '+'])}"
            yield inject, failing(inject)

    def trial(life: Life, chosen: tuple[str, Cause]) -> None:
        name, cause = chosen
        lasting_s = dice.uniform(0.1, 1.0)
        if dice.random() < LONG_SHARE and time.monotonic() + LONGEST_S + SOON_S < until_s:
            lasting_s = dice.uniform(10, LONGEST_S)
        after_s, wrongs = life.kept_by(cause, lasting_s)
        report.rounds += 1
        took.append(after_s)
        for wrong in wrongs:
            report.fail(f"a whole daemon, {name} for {lasting_s:.1f} s: {wrong}")

    side_by_side(
        some(), lambda: Life(tmpfs=os.geteuid() == 0), trial, until_s, min(lanes() * 4, share(rounds) or lanes() * 4)
    )
    if took:
        longest = f"works again after {max(took):.1f} s at most"
        report.figures["causes at whole daemons"] = f"{len(took)}, {longest}"
