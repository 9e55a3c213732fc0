"""Trials side by side: as many lanes as there are CPUs, each taking the next trial when it is through with its last."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

T = TypeVar("T")
L = TypeVar("L")


def lanes() -> int:
    return max(1, len(os.sched_getaffinity(0)))


def share(rounds: int | None) -> int | None:
    """How many of the rounds asked for are made with a whole daemon each."""
    return None if rounds is None else max(1, rounds // 10)


def side_by_side(
    trials: Iterable[T],
    lane: Callable[[], AbstractContextManager[L]],
    work: Callable[[L, T], None],
    until_s: float,
    number: int = 0,
) -> None:
    """Do `work` on each trial until none is left or the (monotonic) time is over. What a lane raises is raised here.

    `number` of lanes: more than CPUs where a trial mostly waits.
    """
    coming = iter(trials)
    taking = threading.Lock()

    def drive() -> None:
        with lane() as own:
            while time.monotonic() < until_s:
                with taking:
                    trial = next(coming, None)
                if trial is None:
                    return
                work(own, trial)

    number = number or lanes()
    with ThreadPoolExecutor(number) as threads:
        for done in [threads.submit(drive) for _ in range(number)]:
            done.result()
