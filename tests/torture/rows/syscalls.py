"""kill -9 at every system call of the commit path, and at every one of the recovery after that.

In a process that goes the daemon's way from a worker's result to the receipt (`tests.torture.committing`): first each
call of each way once, then pairs of calls, the second in the recovery, as the dice have it. Then in whole daemons, at
calls of any thread, as the dice have it.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import TypeVar

from tests.torture.committing import WAYS
from tests.torture.lanes import share, side_by_side
from tests.torture.lives import Life
from tests.torture.points import KILLED, Points
from tests.torture.report import Report
from tests.torture.strace import needs_strace

NAME = "syscalls"
ASKS = "kill -9 at every system call of the commit path: 100 % of points end old or new, never mixed"

IDLE = frozenset({"futex", "epoll_wait", "getpid", "restart_syscall", "poll", "exit_group"})
"""Calls by which a daemon waits: they come in any number."""

T = TypeVar("T")


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    """`rounds`: that many points, as the dice have it, in place of all, and a tenth of it in whole daemons."""
    needs_strace()
    end = time.monotonic() + seconds
    dice = random.Random(seed)
    report = Report()
    with Points() as points:
        calls = {way: points.calls(way) for way in WAYS}
    every = [(way, _kill(call, n)) for way in WAYS for call, times in calls[way].items() for n in range(1, times + 1)]
    dice.shuffle(every)
    killed = 0
    reached = 0

    def point(points: Points, chosen: tuple[str, str]) -> None:
        nonlocal killed
        way, inject = chosen
        result = points.done_to(way, inject)
        report.rounds += 1
        killed += result.status == KILLED
        for wrong in result.wrong:
            report.fail(f"{way}, {inject}: {wrong}")

    def pair(points: Points, chosen: tuple[str, str]) -> None:
        nonlocal reached
        way, inject = chosen
        calls = points.calls_of_recovery(way, inject)
        for call in dice.sample(sorted(calls), min(len(calls), 8)):
            then = _kill(call, dice.randint(1, calls[call]))
            result = points.done_to(way, inject, then)
            report.rounds += 1
            reached += 1
            for wrong in result.wrong:
                report.fail(f"{way}, {inject}, then in the recovery {then}: {wrong}")

    side_by_side(every[:rounds], Points, point, end)
    if rounds is None:
        side_by_side(_some(every, dice), Points, pair, time.monotonic() + (end - time.monotonic()) / 2)
    lived = died = 0
    with Life() as life:
        whole = [
            _kill(call, n) for call, times in life.calls().items() if call not in IDLE for n in range(1, times + 1)
        ]

    def live(life: Life, inject: str) -> None:
        nonlocal lived, died
        dead, wrongs = life.killed_at(inject)
        report.rounds += 1
        lived += 1
        died += dead
        for wrong in wrongs:
            report.fail(f"a whole daemon, {inject}: {wrong}")

    side_by_side(_some(whole, dice, share(rounds)), Life, live, end)
    report.figures = {
        "points of the commit path": f"{killed} killed at, of {len(every)}",
        "pairs with a point of the recovery": str(reached),
        "whole daemons": f"{died} killed at a call, of {lived}",
    }
    return report


def _kill(call: str, number: int) -> str:
    return f"{call}:signal=KILL:when={number}"


def _some(every: list[T], dice: random.Random, rounds: int | None = None) -> Iterator[T]:
    """Without end, or so many."""
    return (dice.choice(every) for _ in (itertools.count() if rounds is None else range(rounds)))
