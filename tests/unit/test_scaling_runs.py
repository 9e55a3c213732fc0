"""Policies on the simulated machine: what they reach on traces so small that one can reckon it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling.machine import HANDING_S, START_S
from benchmarks.scaling.policy import (
    Action,
    Give,
    KillWorker,
    Pool,
    PoolWorkerState,
    StartWorker,
    StopWorker,
    View,
)
from benchmarks.scaling.pools import MOST_TRIES, PoolRun
from benchmarks.scaling.score import Score, percentile
from benchmarks.scaling.supervised import SupervisedRun
from benchmarks.scaling.trace import MIB, Change, Trace, TraceJob

GIB = 1 << 30


class Plain:
    """So many workers, first come first served."""

    next_wake_s: float | None = None

    def __init__(self, size: int) -> None:
        self.size = size

    def wake(self, now_s: float, view: View) -> Iterable[Action]:
        yield from [StartWorker()] * (self.size - len(view.workers))
        for worker in view.workers.values():
            if worker.state is PoolWorkerState.IDLE and view.queue:
                yield Give(worker.id, view.queue[0])


class Scripted:
    """Does what it is told at each waking."""

    next_wake_s: float | None = None

    def __init__(self, *steps: Callable[[View], Iterable[Action]]) -> None:
        self.steps = list(steps)

    def wake(self, now_s: float, view: View) -> Iterable[Action]:
        return self.steps.pop(0)(view) if self.steps else ()


def job(
    name: str, at_s: float = 0.0, cpu_s: float = 1.0, mib: int = 100, *, fresh: bool = False, predicted: float = 1.0
) -> TraceJob:
    peak = mib * MIB
    return TraceJob(at_s, name, fresh, "photos", 1000, 1000, "jpeg", cpu_s, peak, int(peak * predicted), cpu_s)


def trace(*jobs: TraceJob, cpus: int = 2, memory: int = 4 * GIB, later: Iterable[Change] = ()) -> Trace:
    return Trace("tiny", jobs, (Change(0.0, cpus, memory), *later))


def pooled(lived: Trace, pool: Pool) -> Score:
    return PoolRun(lived, pool).run()


def supervised(lived: Trace) -> Score:
    return SupervisedRun(lived).run()


# ---- pools ----------------------------------------------------------------------------------------------------------


def test_a_static_pool_takes_what_one_reckons() -> None:
    """Two workers up after 15 ms, each job in hand after 1 ms: 2 s and 1 s side by side, then 0.5 s behind these."""
    lived = trace(job("a", cpu_s=2.0), job("b", cpu_s=1.0, fresh=True), job("c", cpu_s=0.5, fresh=True))
    score = pooled(lived, Plain(2))
    assert score.makespan_s == pytest.approx(START_S + HANDING_S + 2.0)
    assert score.fresh_p99_s == pytest.approx(START_S + HANDING_S + 1.0 + HANDING_S + 0.5)
    told = (score.unfinished, score.oom_kills, score.waste_ratio, score.starts, score.above_90_s)
    assert told == (0, 0, 0.0, 2, 0.0)


def test_the_makespan_counts_from_the_first_job_on() -> None:
    lived = trace(job("a", at_s=5.0), job("b", at_s=7.0))
    assert pooled(lived, Plain(1)).makespan_s == pytest.approx(2.0 + HANDING_S + 1.0)


def test_a_killed_job_is_done_again_at_the_end_of_the_queue_and_its_work_counts_as_waste() -> None:
    large, small = job("large", mib=450, cpu_s=4.0), job("small", mib=200, cpu_s=1.2)
    score = pooled(trace(large, small, memory=600 * MIB), Plain(2))
    # The small one has its 200 MiB after 0.3 s, the large one grows by 450 a second into the rest of 528.
    spent_s = (600 - 64 - 2 * 4 - 200) / 450
    assert (score.oom_kills, score.unfinished, score.starts) == (1, 0, 3)
    assert score.waste_ratio == pytest.approx(spent_s / 5.2)
    assert score.makespan_s == pytest.approx(spent_s + 2 * (START_S + HANDING_S) + 4.0)


def test_a_job_that_is_killed_each_time_is_given_up_after_five_tries() -> None:
    score = pooled(trace(job("too-large", mib=900), job("b"), memory=512 * MIB), Plain(1))
    assert (score.oom_kills, score.unfinished) == (MOST_TRIES, 1)


def test_a_pool_that_never_does_anything_is_not_waited_for() -> None:
    class Lazy(Scripted):
        next_wake_s = 0.0

        def wake(self, now_s: float, view: View) -> Iterable[Action]:
            self.next_wake_s = now_s + 60.0
            return ()

    score = pooled(trace(job("a")), Lazy())
    assert (score.unfinished, score.makespan_s, score.starts) == (1, None, 0)


def test_a_job_whose_worker_its_pool_kills_waits_again_where_the_pool_says() -> None:
    seen: list[list[str]] = []

    def give(view: View) -> Iterable[Action]:
        return [Give(1, view.queue[0])]

    def kill(view: View) -> Iterable[Action]:
        return [KillWorker(1, to_front=True), StartWorker()]

    def look(view: View) -> Iterable[Action]:
        seen.append([one.id for one in view.queue])
        return ()

    lived = trace(job("a", cpu_s=9.0), job("b"), job("c", at_s=1.0), job("d", at_s=2.0))
    pool = Scripted(lambda view: [StartWorker()], give, kill, look)
    score = pooled(lived, pool)
    assert seen == [["a", "b", "c"]]
    assert score.waste_ratio == pytest.approx((1.0 - START_S - HANDING_S) / 12.0)


def test_only_an_idle_worker_is_given_a_job_or_stopped() -> None:
    lived = trace(job("a"), job("b"))

    def twice(view: View) -> Iterable[Action]:
        first, second = view.queue
        return [Give(1, first), Give(1, second)]

    def stop_busy(view: View) -> Iterable[Action]:
        return [Give(1, view.queue[0]), StopWorker(1)]

    for step, said in ((twice, "it can take no job"), (stop_busy, "it is not stopped, but killed")):
        with pytest.raises(ValueError, match=said):
            pooled(lived, Scripted(lambda view: [StartWorker()], step))


# ---- imgoptd --------------------------------------------------------------------------------------------------------


def test_imgoptd_takes_what_one_reckons() -> None:
    """The worker is up after 15 ms, has the file to probe after one more, and the job after another."""
    score = supervised(trace(job("a", cpu_s=2.0, fresh=True), cpus=1))
    assert score.makespan_s == pytest.approx(START_S + 2 * HANDING_S + 2.0)
    assert score.fresh_p99_s == score.makespan_s
    told = (score.unfinished, score.oom_kills, score.waste_ratio, score.starts, score.above_90_s)
    assert told == (0, 0, 0.0, 1, 0.0)


def test_imgoptd_does_what_a_scan_finds_and_what_is_dropped_later() -> None:
    lived = trace(job("a"), job("b"), job("c", at_s=30.0, fresh=True))
    score = supervised(lived)
    assert score.unfinished == 0
    assert score.makespan_s == pytest.approx(31.0, abs=0.1)


def test_imgoptd_does_not_begin_what_does_not_fit_beside_what_runs() -> None:
    """A static pool of two dies of these; one after the other they fit."""
    lived = trace(*(job(name, mib=450, cpu_s=2.0) for name in "abcd"), memory=800 * MIB)
    assert pooled(lived, Plain(2)).oom_kills > 0
    score = supervised(lived)
    assert (score.oom_kills, score.unfinished) == (0, 0)


def test_what_is_larger_than_the_machine_stays_undone_and_holds_nothing_up() -> None:
    score = supervised(trace(job("too-large", mib=2000), job("b"), memory=1024 * MIB))
    assert (score.unfinished, score.oom_kills) == (1, 0)
    assert score.makespan_s == pytest.approx(1.0, abs=0.1)


def test_what_was_too_large_is_done_when_the_machine_grows() -> None:
    lived = trace(job("large", mib=2000), memory=1024 * MIB, later=[Change(20.0, 2, 4 * GIB)])
    assert supervised(lived).unfinished == 0


def test_what_is_said_on_the_way_can_be_heard() -> None:
    heard: list[tuple[float, str]] = []
    SupervisedRun(trace(job("a"), job("b")), lambda now_s, text: heard.append((now_s, text))).run()
    assert any("workers 0 ->" in text for _, text in heard)
    assert [now_s for now_s, _ in heard] == sorted(now_s for now_s, _ in heard)


JOBS = st.lists(
    st.builds(
        lambda at_s, cpu_s, mib, fresh: (at_s, cpu_s, mib, fresh),
        st.floats(0.0, 5.0),
        st.floats(0.01, 3.0),
        st.integers(1, 350),
        st.booleans(),
    ),
    min_size=1,
    max_size=15,
)


@settings(max_examples=40)
@given(JOBS, st.integers(1, 6))
def test_with_exact_predictions_nothing_is_killed_and_everything_is_done(
    found: list[tuple[float, float, int, bool]], cpus: int
) -> None:
    jobs = [
        job(str(number), at_s, cpu_s, mib, fresh=fresh)
        for number, (at_s, cpu_s, mib, fresh) in enumerate(sorted(found, key=lambda one: one[0]))
    ]
    score = supervised(trace(*jobs, cpus=cpus, memory=1024 * MIB))
    assert (score.oom_kills, score.unfinished, score.above_90_s) == (0, 0, 0.0)


# ---- figures --------------------------------------------------------------------------------------------------------


def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99.0
