"""Each baseline does what its documentation's worked examples say, so that none of them is a straw man."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling.baselines import BASELINES, celery, dask, hpa, memfree
from benchmarks.scaling.bounds import bound
from benchmarks.scaling.policy import (
    Action,
    Give,
    KillWorker,
    Pool,
    PoolWorker,
    PoolWorkerState,
    StartWorker,
    StopWorker,
)
from benchmarks.scaling.pools import PoolRun
from benchmarks.scaling.trace import IDLE_BYTES, SUPERVISOR_BYTES, Change, Trace, TraceJob

MIB, GIB = 1 << 20, 1 << 30


def job(number: int, at_s: float = 0.0, cpu_s: float = 1.0, mib: int = 10, *, predicted_s: float = 1.0) -> TraceJob:
    return TraceJob(at_s, f"j{number}", False, "f", 1, 1, "jpeg", cpu_s, mib * MIB, mib * MIB, predicted_s)


def trace(jobs: Iterable[TraceJob] = (), cpus: int = 10, mib: int = 10_000) -> Trace:
    return Trace("t", tuple(jobs), (Change(0.0, cpus, mib * MIB),))


@dataclass
class Scene:
    """A machine as a pool sees it, in which a test puts things as it likes. Actions are carried out at once."""

    queue: deque[TraceJob] = field(default_factory=deque)
    workers: dict[int, PoolWorker] = field(default_factory=dict)
    cpus: int = 10
    memory_bytes: int = 10_000 * MIB
    available_bytes: int = 9_000 * MIB
    cpu_share: float = 1.0
    held: dict[int, int] = field(default_factory=dict)
    """Bytes that come free when a worker is killed."""
    used_s: dict[int, float] = field(default_factory=dict)

    def rss_bytes(self, worker: int) -> int:
        return self.held.get(worker, 0)

    def cpu_s(self, worker: int) -> float:
        return self.used_s.get(worker, 0.0)

    def cpu_s_of_all(self) -> float:
        return sum(self.used_s.values())

    def waiting(self, jobs: int, *, predicted_s: float = 1.0) -> None:
        self.queue.extend(job(number, predicted_s=predicted_s) for number in range(jobs))

    def wake(self, pool: Pool, now_s: float) -> list[Action]:
        done = []
        for action in pool.wake(now_s, self):
            self._perform(action, now_s)
            done.append(action)
        return done

    def _perform(self, action: Action, now_s: float) -> None:
        match action:
            case StartWorker():
                number = max(self.workers, default=0) + 1
                self.workers[number] = PoolWorker(number, now_s, PoolWorkerState.IDLE)
            case StopWorker(worker):
                assert self.workers.pop(worker).state is PoolWorkerState.IDLE
            case KillWorker(worker, to_front):
                self.available_bytes += self.held.get(worker, 0)
                given = self.workers.pop(worker).job
                assert given is not None
                self.queue.insert(0 if to_front else len(self.queue), given)
            case Give(worker, given):
                assert self.workers[worker].state is PoolWorkerState.IDLE
                self.queue.remove(given)
                self.workers[worker] = replace(
                    self.workers[worker], job=given, state=PoolWorkerState.BUSY, given_s=now_s
                )

    def finish(self, workers: Iterable[int]) -> None:
        for worker in workers:
            self.workers[worker].job, self.workers[worker].state = None, PoolWorkerState.IDLE


# ---- static ---------------------------------------------------------------------------------------------------------


def test_a_static_pool_has_a_worker_for_each_cpu_before_there_is_work_and_replaces_lost_ones() -> None:
    pool, scene = BASELINES["static"](trace(cpus=4)), Scene()
    scene.wake(pool, 0.0)
    assert len(scene.workers) == 4
    del scene.workers[2]
    scene.wake(pool, 1.0)
    assert len(scene.workers) == 4


# ---- Celery: workers guide, "Autoscaling": --autoscale=10,3 ---------------------------------------------------------


def test_celery_always_keeps_3_processes_but_grows_to_10_if_necessary() -> None:
    pool, scene = celery.CeleryPool(trace(), most=10, least=3), Scene()
    scene.wake(pool, 0.0)
    assert len(scene.workers) == 3
    scene.waiting(5)
    scene.wake(pool, 1.0)
    assert len(scene.workers) == 5
    scene.waiting(100)
    scene.wake(pool, 2.0)
    assert len(scene.workers) == 10


def test_celery_shrinks_to_what_is_reserved_only_after_30_s_without_a_task() -> None:
    pool, scene = celery.CeleryPool(trace(), most=10, least=3), Scene()
    scene.waiting(10)
    scene.wake(pool, 0.0)
    scene.finish(range(1, 11))
    scene.wake(pool, 1.0)
    scene.wake(pool, 29.0)
    assert len(scene.workers) == 10
    scene.wake(pool, 31.0)
    assert len(scene.workers) == 3


def test_celery_ends_no_process_that_works() -> None:
    pool, scene = celery.CeleryPool(trace(), most=10, least=3), Scene()
    scene.waiting(10)
    scene.wake(pool, 0.0)
    scene.finish([9, 10])
    scene.wake(pool, 1.0)
    scene.wake(pool, 40.0)
    assert sorted(scene.workers) == list(range(1, 9))


@pytest.mark.parametrize(
    ("reserved", "processes", "change"),
    [(0, 3, 0), (1, 3, 0), (4, 3, 1), (50, 3, 7), (50, 10, 0), (4, 10, -6), (0, 10, -7)],
)
def test_celery_counts_as_its_source_does(reserved: int, processes: int, change: int) -> None:
    assert celery.change(reserved, processes, 10, 3) == change


# ---- Kubernetes: "Horizontal Pod Autoscaling" -----------------------------------------------------------------------


def test_hpa_doubles_at_200m_for_a_target_of_100m_and_halves_at_50m() -> None:
    assert hpa.recommended(3, 200, 100) == 6
    assert hpa.recommended(6, 50, 100) == 3


def test_hpa_goes_from_50_to_60_at_90_percent_for_a_target_of_75() -> None:
    assert hpa.recommended(50, 90, 75) == 60  # KEP-4951 and the blog on configurable tolerance


@pytest.mark.parametrize(("metric", "pods"), [(105, 10), (110, 10), (111, 12), (95, 10), (90, 10), (89, 9)])
def test_hpa_does_nothing_within_a_tenth_of_its_target(metric: float, pods: int) -> None:
    assert hpa.recommended(10, metric, 100) == pods


def test_hpa_goes_down_from_80_by_8_then_8_and_below_40_by_4_with_the_policies_of_the_example() -> None:
    policies = (hpa.Change(pods=4), hpa.Change(percent=10))
    assert hpa.most_change(80, policies) == 8
    assert hpa.most_change(72, policies) == 8  # 7.2, rounded up
    assert hpa.most_change(39, policies) == 4


def test_hpa_adds_4_pods_or_doubles_whichever_is_more_and_may_remove_all() -> None:
    assert [hpa.most_change(pods, hpa.UP) for pods in (1, 3, 4, 5, 20)] == [4, 4, 4, 5, 20]
    assert hpa.most_change(20, hpa.DOWN) == 20


def busy_all(scene: Scene, share: float, since_s: float, now_s: float) -> None:
    for worker in scene.workers.values():
        scene.used_s[worker.id] = scene.cpu_s(worker.id) + share * (now_s - max(since_s, worker.born_s))


def test_hpa_grows_by_a_quarter_every_15_s_under_full_load_and_shrinks_after_5_min_of_none() -> None:
    pool, scene = hpa.HpaPool(trace(cpus=10)), Scene()
    scene.waiting(1000)
    sizes = []
    for look in range(9):
        busy_all(scene, 1.0, 15.0 * (look - 1), 15.0 * look)
        scene.wake(pool, 15.0 * look)
        sizes.append(len(scene.workers))
    assert sizes == [1, 2, 3, 4, 5, 7, 9, 10, 10]
    scene.finish(scene.workers)
    scene.queue.clear()
    scene.wake(pool, 15.0 * 9)  # idle from here on
    assert len(scene.workers) == 10
    for look in range(10, 29):
        scene.wake(pool, 15.0 * look)
    assert len(scene.workers) == 10, "the highest recommendation of the last 300 s counts"
    scene.wake(pool, 15.0 * 29)
    assert len(scene.workers) == 1


# ---- GNU parallel: parallel(1), --memfree ---------------------------------------------------------------------------


def test_memfree_starts_no_job_with_less_than_size_free() -> None:
    assert memfree.may_start(1 * MIB, 1 * MIB)
    assert not memfree.may_start(1 * MIB - 1, 1 * MIB)
    pool, scene = memfree.MemfreePool(trace(), size=100 * MIB), Scene(available_bytes=99 * MIB)
    scene.waiting(3)
    assert not [action for action in scene.wake(pool, 0.0) if isinstance(action, Give)]
    scene.available_bytes = 100 * MIB
    assert [action for action in scene.wake(pool, 1.0) if isinstance(action, Give)]


def test_memfree_kills_the_youngest_with_less_than_half_of_size_free_and_puts_it_back() -> None:
    pool, scene = memfree.MemfreePool(trace(cpus=3), size=100 * MIB), Scene()
    scene.waiting(1)
    scene.wake(pool, 0.0)
    scene.waiting(2)
    scene.wake(pool, 1.0)
    scene.available_bytes, scene.held = 50 * MIB, dict.fromkeys(scene.workers, 20 * MIB)
    assert not scene.wake(pool, 2.0), "half of it is enough"
    scene.available_bytes = 49 * MIB
    young = scene.workers[3].job
    assert scene.wake(pool, 3.0)[0] == KillWorker(3, to_front=True)
    assert list(scene.queue) == [young]
    assert scene.workers[1].job and scene.workers[2].job


def test_memfree_is_given_the_size_of_the_largest_job_but_no_more_than_half_of_what_is_left() -> None:
    small = trace([job(1, mib=20), job(2, mib=90)], cpus=2, mib=1000)
    assert memfree.fair_size(small) == 90 * MIB + IDLE_BYTES
    large = Trace("t", (job(1, mib=900),), (Change(0.0, 2, 1000 * MIB, neighbour_bytes=500 * MIB),))
    assert memfree.fair_size(large) == (500 * MIB - SUPERVISOR_BYTES - 2 * IDLE_BYTES) // 2


def test_memfree_gives_up_what_is_killed_again_and_again_though_it_is_alone() -> None:
    late = [job(number) for number in range(2, 6)]
    found = PoolRun(t := trace([job(1, cpu_s=4, mib=850), *late], cpus=2, mib=1000), memfree.MemfreePool(t)).run()
    assert (found.unfinished, found.oom_kills) == (1, 0)


# ---- Dask: Scheduler.adaptive_target and its tests, AdaptiveCore.recommendations -------------------------------------


def test_dask_wants_none_without_tasks_and_one_for_the_first() -> None:
    assert dask.target(0.0, 0, 0, 0) == 0
    assert dask.target(0.1, 1, 0, 0) == 1


def test_dask_wants_no_more_workers_than_tasks_however_long_they_take() -> None:
    assert dask.target(1000.0, 1, 0, 0) == 1  # test_no_more_workers_than_tasks: one task of 1000 s
    assert dask.target(10.0, 0, 1, 2, duration_s=0.1) == 1  # test_adaptive_target: a long task, "still one"


def test_dask_wants_between_10_and_100_for_100_tasks_of_10_s_to_be_done_in_a_tenth_of_a_second() -> None:
    assert 10 < dask.target(1010.0, 98, 2, 2, duration_s=0.1) <= 100  # test_adaptive_target


def test_dask_wants_the_work_to_take_5_s() -> None:
    assert dask.target(50.0, 100, 0, 1) == 10
    assert dask.target(51.0, 100, 0, 1) == 11


def test_dask_doubles_its_workers_when_results_fill_more_than_three_fifths_of_their_memory() -> None:
    assert dask.target(5.0, 10, 0, 4, stored_share=0.61) == 8
    assert dask.target(5.0, 10, 0, 4, stored_share=0.6) == 1


def test_dask_scales_the_first_100_waiting_tasks_up_to_all() -> None:
    assert dask.occupancy_of([1.0] * 100 + [9.0] * 100, 200) == 200
    assert dask.occupancy_of([1.0] * 7, 7) == 7


def test_dask_closes_a_worker_that_is_suggested_three_times_running() -> None:
    suggestions = dask.Suggestions()
    assert suggestions.firm([1, 2]) == []
    assert suggestions.firm([1, 2]) == []
    assert suggestions.firm([1]) == [1]
    assert suggestions.firm([2]) == [], "it was left out in between"


def test_dask_looks_once_a_second() -> None:
    pool, scene = dask.DaskPool(trace()), Scene()
    scene.wake(pool, 0.0)
    scene.waiting(100)
    scene.wake(pool, 0.4)
    scene.wake(pool, 0.5)
    assert pool.next_wake_s is not None and pool.next_wake_s <= 1.4
    scene.wake(pool, pool.next_wake_s)
    assert len(scene.workers) == 10


# ---- all of them on the machine -------------------------------------------------------------------------------------


def test_a_pool_whose_workers_only_start_and_die_for_a_minute_is_over_whatever_is_still_to_come() -> None:
    full = trace([job(1, cpu_s=5)], cpus=2, mib=500)
    full = replace(full, changes=(*full.changes, Change(1.0, 2, 500 * MIB, 0.0, 600 * MIB), Change(900.0, 2, GIB)))
    run = PoolRun(full, BASELINES["static"](full))
    score = run.run()
    assert score.unfinished == 1 and score.starts < 50_000
    assert run.over.startswith("for 60 s its workers only started and died")


def test_a_pool_that_waits_for_work_longer_than_a_minute_is_not_over() -> None:
    rare = trace([job(1), job(2, at_s=500.0)], cpus=2)
    run = PoolRun(rare, BASELINES["static"](rare))
    assert run.run().unfinished == 0 and not run.over


jobs = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0.05, 8), st.integers(1, 500), st.floats(0.5, 2)), min_size=1, max_size=30
)
machines = st.lists(
    st.tuples(st.floats(0.5, 20), st.integers(1, 6), st.integers(150, 2000), st.floats(0, 3), st.integers(0, 300)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=25)
@given(jobs, machines, st.sampled_from(sorted(BASELINES)))
def test_no_pool_that_does_all_its_work_is_faster_than_the_bound(
    works: list[tuple[float, float, int, float]], machine: list[tuple[float, int, int, float, int]], name: str
) -> None:
    made = [
        replace(job(number, at_s, cpu_s, mib), predicted_bytes=int(mib * wrong * MIB))
        for number, (at_s, cpu_s, mib, wrong) in enumerate(sorted(works))
    ]
    changes, at_s = [], 0.0
    for after_s, cpus, mib, busy, held in machine:
        changes.append(Change(at_s, cpus, (mib + held) * MIB + SUPERVISOR_BYTES, busy, held * MIB))
        at_s += after_s
    tested = Trace("t", tuple(made), tuple(changes))
    found = PoolRun(tested, BASELINES[name](tested)).run()
    if found.makespan_s is not None and found.unfinished == len(tested.impossible()):
        assert found.makespan_s >= bound(tested).seconds - 1e-6
