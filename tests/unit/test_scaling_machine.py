"""The simulated machine: CPUs are shared, memory grows with the work, and the kernel kills when there is none left."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling.machine import (
    HANDING_S,
    START_S,
    Done,
    Due,
    Happening,
    Machine,
    OomKilled,
    OverLimit,
    Pressed,
    Up,
)
from benchmarks.scaling.trace import IDLE_BYTES, MIB, SUPERVISOR_BYTES, Change, TraceJob

BASE = SUPERVISOR_BYTES + IDLE_BYTES


def near(value: float, rel: float | None = None, abs: float | None = None) -> Any:
    """May stand where a number does."""
    return pytest.approx(value, rel=rel, abs=abs)


def job(name: str = "a", cpu_s: float = 1.0, peak_bytes: int = 100 * MIB) -> TraceJob:
    return TraceJob(0.0, name, False, "photos", 1000, 1000, "jpeg", cpu_s, peak_bytes, peak_bytes, cpu_s)


def machine(cpus: int = 2, memory_bytes: int = 4096 * MIB, workers: int = 2, neighbour_cpus: float = 0.0) -> Machine:
    """With so many idle workers."""
    made = Machine(Change(0.0, cpus, memory_bytes, neighbour_cpus))
    for number in range(1, workers + 1):
        made.start(number)
    happens(made, START_S)
    return made


def happens(one: Machine, until_s: float = math.inf) -> list[tuple[float, Happening]]:
    """All that happens by then, and when."""
    happened: list[tuple[float, Happening]] = []
    while (next_s := one.next_s()) <= until_s and next_s < math.inf:
        happened += [(next_s, what) for what in one.advance(next_s)]
    if until_s < math.inf:
        one.advance(until_s)
    return happened


def test_a_worker_idles_a_little_after_it_was_started() -> None:
    one = Machine(Change(0.0, 1, 1024 * MIB))
    one.start(1)
    assert happens(one) == [(START_S, Up(1))]
    assert one.totals.starts == 1


def test_what_is_asked_for_later_happens_then() -> None:
    one = machine()
    one.after(HANDING_S, "letter")
    assert happens(one) == [(START_S + HANDING_S, Due("letter"))]


def test_a_job_alone_takes_its_cpu_time() -> None:
    one, long = machine(), job(cpu_s=3.0)
    one.run(1, long)
    assert happens(one) == [(near(START_S + 3.0), Done(1, long))]
    assert one.cpu_s(1) == near(3.0)


def test_workers_share_the_cpus_equally_and_use_no_more_than_one_each() -> None:
    one = machine(cpus=2, workers=3)
    jobs = [job("a", 1.0), job("b", 1.0), job("c", 2.0)]
    for number, each in enumerate(jobs, 1):
        one.run(number, each)
    assert one.cpu_share == near(2 / 3)
    # Three share two CPUs until two are through, after 1.5 s; the third then has one of its own for what is left.
    assert [(round(when - START_S, 6), what.worker) for when, what in happens(one) if isinstance(what, Done)] == [
        (1.5, 1),
        (1.5, 2),
        (2.5, 3),
    ]


def test_neighbours_take_what_they_want_first() -> None:
    one = machine(cpus=2, neighbour_cpus=1.5)
    one.run(1, job(cpu_s=1.0))
    assert happens(one)[0][0] == near(START_S + 2.0)
    assert one.totals.others_cpu_s == near(1.5 * (START_S + 2.0))


def test_neighbours_that_want_all_leave_two_percent() -> None:
    one = machine(cpus=4, neighbour_cpus=9.0)
    one.run(1, job(cpu_s=0.08))
    assert happens(one)[0][0] == near(START_S + 1.0)


def test_memory_grows_over_a_quarter_of_the_work_and_stays_to_its_end() -> None:
    one = machine(workers=1)
    one.run(1, job(cpu_s=4.0, peak_bytes=100 * MIB))
    held = []
    for passed_s in (0.0, 0.5, 1.0, 3.9):
        happens(one, START_S + passed_s)
        held.append(round((one.use - BASE) / MIB, 3))
        assert one.rss_bytes(1) == near(IDLE_BYTES + held[-1] * MIB, abs=2000)
    assert held == [0.0, 50.0, 100.0, 100.0]
    happens(one)
    assert one.use == near(BASE)


def test_an_ended_worker_gives_back_what_it_held_and_its_work_is_lost() -> None:
    one = machine(workers=1)
    one.run(1, job(cpu_s=4.0))
    happens(one, START_S + 3.0)
    assert one.end(1) == near(3.0)
    assert one.use == near(SUPERVISOR_BYTES)
    assert one.totals.lost_cpu_s == near(3.0)
    assert happens(one) == []


def test_a_job_that_outgrows_what_it_was_allowed_fails_at_that_moment_and_its_worker_idles() -> None:
    one, large = machine(workers=1), job(cpu_s=4.0, peak_bytes=100 * MIB)
    one.run(1, large, allowed_bytes=40 * MIB)
    assert happens(one) == [(near(START_S + 0.4), OverLimit(1, large, near(0.4)))]
    assert one.use == near(BASE)
    one.run(1, job("b"))
    assert [type(what) for _, what in happens(one)] == [Done]


def test_a_job_may_take_all_that_it_was_allowed() -> None:
    one, exact = machine(workers=1), job(peak_bytes=100 * MIB)
    one.run(1, exact, allowed_bytes=100 * MIB)
    assert [what for _, what in happens(one)] == [Done(1, exact)]


def test_the_kernel_kills_the_largest_of_our_workers_at_the_moment_when_memory_runs_out() -> None:
    one = machine(memory_bytes=SUPERVISOR_BYTES + 2 * IDLE_BYTES + 150 * MIB)
    small, large = job("small", cpu_s=4.0, peak_bytes=50 * MIB), job("large", cpu_s=4.0, peak_bytes=200 * MIB)
    one.run(1, small)
    one.run(2, large)
    # 50 and 200 MiB a second together: 150 are reached after 0.6 s.
    assert [told for told in happens(one) if told[1] != Pressed()] == [
        (near(START_S + 0.6), OomKilled(2, large, near(0.6))),
        (near(START_S + 4.0), Done(1, small)),
    ]
    assert one.totals.oom_kills == 1
    assert one.totals.lost_cpu_s == near(0.6)


def test_a_neighbour_touches_memory_no_faster_than_a_gibibyte_a_second() -> None:
    one = machine(workers=1)
    one.change(Change(START_S, 2, 4096 * MIB, 0.0, 2048 * MIB))
    happens(one, START_S + 0.5)
    assert one.neighbour == 512 * MIB
    assert not one.settled
    happens(one)
    assert (one.neighbour, one.settled) == (2048 * MIB, True)
    assert one.now_s == near(START_S + 2.0)


def test_a_growing_neighbour_has_our_largest_worker_killed() -> None:
    one, large = machine(memory_bytes=1024 * MIB), job(cpu_s=40.0, peak_bytes=300 * MIB)
    one.run(1, job("small", cpu_s=40.0, peak_bytes=200 * MIB))
    one.run(2, large)
    happens(one, 20.0)
    one.change(Change(20.0, 2, 1024 * MIB, 0.0, 600 * MIB))
    (when, what), *_ = (told for told in happens(one) if told[1] != Pressed())
    assert what == OomKilled(2, large, near(20.0 - START_S + when - 20.0))
    assert when == near(20.0 + (1024 - 64 - 8 - 500) / 1024)


def test_a_limit_is_lowered_as_far_as_memory_is_free_and_further_as_it_becomes_so() -> None:
    one, first = machine(memory_bytes=2048 * MIB), job("first", cpu_s=10.0, peak_bytes=400 * MIB)
    one.run(1, first)
    one.run(2, job("second", cpu_s=20.0, peak_bytes=400 * MIB))
    happens(one, 6.0)
    one.change(Change(6.0, 2, 512 * MIB))
    happens(one, 9.0)
    assert one.limit == near(one.use)
    assert not one.settled
    happens(one, 11.0)
    assert (one.limit, one.settled) == (512 * MIB, True)
    assert one.totals.oom_kills == 0


def test_what_still_grows_under_a_limit_that_met_it_is_killed() -> None:
    one, growing = machine(memory_bytes=2048 * MIB, workers=1), job(cpu_s=40.0, peak_bytes=1000 * MIB)
    one.run(1, growing)
    happens(one, 5.0)
    one.change(Change(5.0, 2, 256 * MIB))
    assert [type(what) for _, what in happens(one)] == [Pressed, OomKilled]


def test_a_limit_is_raised_at_once() -> None:
    one = machine(memory_bytes=256 * MIB)
    one.change(Change(START_S, 2, 1024 * MIB))
    assert (one.limit, one.settled) == (1024 * MIB, True)


def test_seconds_above_ninety_percent_count_only_without_a_neighbour_and_without_a_change() -> None:
    one = machine(memory_bytes=1000 * MIB, workers=1)
    one.run(1, job(cpu_s=4.0, peak_bytes=880 * MIB))
    happens(one)
    grown_s = (900 - 68) / 880
    assert one.totals.above_90_s == near(4.0 - grown_s)

    beside = Machine(Change(0.0, 2, 1000 * MIB, 0.0, 10 * MIB))
    beside.start(1)
    happens(beside)
    beside.run(1, job(cpu_s=4.0, peak_bytes=880 * MIB))
    happens(beside)
    assert beside.totals.above_90_s == 0.0


def test_pressure_begins_at_ninety_seven_percent_and_is_whole_where_nothing_is_left() -> None:
    one = machine(memory_bytes=1000 * MIB, workers=1)
    one.run(1, job(cpu_s=40.0, peak_bytes=917 * MIB))  # 985 MiB in all: half of what is between 970 and 1,000
    happens(one, START_S + 10.0)
    before_s = one.totals.stalled_s
    happens(one, START_S + 20.0)
    assert one.totals.stalled_s - before_s == near(5.0, rel=1e-3)
    assert 0 < before_s < 0.1


def test_pressure_is_told_of_once_each_time_that_it_begins() -> None:
    one = machine(memory_bytes=1000 * MIB, workers=1)
    for name in "ab":
        one.run(1, job(name, cpu_s=4.0, peak_bytes=920 * MIB))
        told = happens(one)
        assert [type(what) for _, what in told] == [Pressed, Done]
        assert told[0][0] == near(told[1][0] - 4.0 + (970 - 68) / 920)


JOBS = st.lists(st.tuples(st.floats(0.01, 5.0), st.integers(0, 200), st.floats(0.0, 3.0)), min_size=1, max_size=12)


@given(JOBS, st.integers(1, 4), st.floats(0.0, 5.0))
def test_no_cpu_second_is_lost_or_made_up(
    jobs: list[tuple[float, int, float]], cpus: int, neighbour_cpus: float
) -> None:
    one = machine(cpus, workers=len(jobs), neighbour_cpus=neighbour_cpus)
    for number, (cpu_s, mib, later_s) in enumerate(jobs, 1):
        one.after(later_s, (number, job(str(number), cpu_s, mib * MIB)))
    done = 0
    while (next_s := one.next_s()) < math.inf:
        for what in one.advance(next_s):
            if isinstance(what, Due):
                one.run(*what.what)  # type: ignore[misc]  # the pair from above
            done += isinstance(what, Done)
    assert done == len(jobs)
    assert one.totals.cpu_s == near(sum(cpu_s for cpu_s, _, _ in jobs))
    assert one.use == near(SUPERVISOR_BYTES + len(jobs) * IDLE_BYTES, abs=10)


def test_a_worker_that_is_busy_or_starts_takes_no_job() -> None:
    one = machine(workers=1)
    one.run(1, job())
    one.start(2)
    for number in (1, 2):
        with pytest.raises(ValueError, match="is busy, or starts"):
            one.run(number, replace(job(), id="other"))
