"""Order in the backlog, what a job is expected to take, and whether it fits."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.admission import Holding, Ledger, MemoryView
from imgoptd.core.backlog import Backlog
from imgoptd.core.estimate import Estimate, Estimator
from imgoptd.core.job import Job, Stage
from imgoptd.core.line import FRESH_WINDOW, READY_WINDOW
from imgoptd.core.model import Domain, FileRecord, FileRef, Identity, ImageFacts, JobSettings, JobState

MIB = 1 << 20
GIB = 1 << 30
MINE, OTHER = Domain(b"/srv", 1000), Domain(b"/srv", 1001)
PHOTO = ImageFacts("jpeg", 4000, 3000, channels=3)


def a_job(
    seq: int,
    *,
    fresh: bool = False,
    priority: int = 5,
    cpu_s: float = 0.0,
    stage: Stage = Stage.READY,
    size: int = 10,
    memory: int = MIB,
) -> Job:
    ref = FileRef(b"/srv", b"%d.jpg" % seq)
    record = FileRecord(ref, Identity(1, seq, size, 1), JobState.QUEUED, fresh=fresh)
    return Job(record, MINE, priority, JobSettings(), seq, 0.0, stage, estimate=Estimate(memory, cpu_s))


def probed(facts: ImageFacts, size: int = MIB) -> FileRecord:
    return FileRecord(FileRef(b"/srv", b"a"), Identity(1, 1, size, 1), JobState.QUEUED, facts=facts)


def memory_of(facts: ImageFacts) -> int:
    return Estimator().estimate(probed(facts)).memory_bytes


def taken(backlog: Backlog, count: int) -> list[int]:
    order = []
    for _ in range(count):
        job = backlog.next_ready(MINE)
        assert job is not None
        backlog.remove(job)
        order.append(job.seq)
    return order


# ---- backlog --------------------------------------------------------------------------------------------------------


def test_fresh_drops_come_first_as_they_came_then_by_the_folders_priority_largest_first() -> None:
    backlog = Backlog()
    for job in (
        a_job(1, cpu_s=1.0),
        a_job(2, cpu_s=9.0),
        a_job(3, priority=0, cpu_s=0.1),
        a_job(4, fresh=True, cpu_s=0.1),
        a_job(5, fresh=True, cpu_s=5.0),
        a_job(6, fresh=True, priority=1),
    ):
        backlog.add(job)
    assert taken(backlog, 6) == [6, 4, 5, 3, 2, 1]


def test_totals_follow_what_is_added_and_removed() -> None:
    backlog = Backlog()
    probe, ready = a_job(1, stage=Stage.UNPROBED, size=100), a_job(2, cpu_s=2.5, size=50)
    backlog.add(probe)
    backlog.add(ready)
    assert (backlog.jobs, backlog.bytes, backlog.ready_cpu_s) == (2, 150, 2.5)
    backlog.remove(ready)
    assert (backlog.jobs, backlog.bytes, backlog.ready_cpu_s) == (1, 100, 0.0)
    backlog.remove(probe)
    assert (backlog.jobs, backlog.bytes, list(backlog.domains())) == (0, 0, [])


def test_a_job_that_comes_back_stands_in_line_once() -> None:
    backlog = Backlog()
    jobs = [a_job(seq, cpu_s=float(seq)) for seq in (3, 2, 1)]
    for job in jobs:
        backlog.add(job)
    for _ in range(3):
        backlog.remove(jobs[2])  # not the head: it leaves a trace in the heap
        backlog.add(jobs[2])
    assert taken(backlog, 3) == [3, 2, 1]
    assert backlog.next_ready(MINE) is None


def test_backfill_takes_the_first_that_suits_of_each_size_and_leaves_the_line_as_it_was() -> None:
    backlog = Backlog()
    for seq in range(1, 40):
        backlog.add(a_job(seq, cpu_s=100.0 - seq, memory=1 << seq % 13 + 20))
    found = backlog.backfill(MINE, lambda job: job.estimate.memory_bytes <= 16 * MIB)
    assert found is not None and found.seq == 1
    found = backlog.backfill(MINE, lambda job: job.estimate.memory_bytes == 4 * GIB)
    assert found is not None and found.seq == 12
    assert backlog.backfill(MINE, lambda job: job.estimate.memory_bytes > 4 * GIB) is None
    assert backlog.backfill(OTHER, lambda job: True) is None
    assert taken(backlog, 3) == [1, 2, 3]


def test_enough_probed_jobs_waiting_keep_bulk_probes_back_but_not_fresh_drops() -> None:
    backlog = Backlog()
    backlog.add(a_job(1, stage=Stage.UNPROBED))
    for seq in range(2, READY_WINDOW + 2):
        assert backlog.next_probe(MINE) is not None
        backlog.add(a_job(seq))
    assert backlog.next_probe(MINE) is None
    backlog.add(a_job(9999, stage=Stage.UNPROBED, fresh=True))
    assert (job := backlog.next_probe(MINE)) is not None and job.seq == 9999


def test_enough_probed_fresh_drops_waiting_keep_probes_of_further_ones_back() -> None:
    backlog = Backlog()
    backlog.add(a_job(1, stage=Stage.UNPROBED, fresh=True))
    for seq in range(2, FRESH_WINDOW + 2):
        assert backlog.next_probe(MINE) is not None
        backlog.add(a_job(seq, fresh=True))
    assert backlog.next_probe(MINE) is None
    taken(backlog, 1)
    assert backlog.next_probe(MINE) is not None


def test_a_domain_is_as_urgent_as_its_most_urgent_file() -> None:
    backlog = Backlog()
    assert backlog.urgency(MINE) is None
    backlog.add(a_job(1, priority=7))
    assert backlog.urgency(MINE) == (True, 7)
    backlog.add(a_job(2, priority=9, stage=Stage.UNPROBED, fresh=True))
    assert backlog.urgency(MINE) == (False, 9)
    assert backlog.urgency(OTHER) is None


# ---- admission ------------------------------------------------------------------------------------------------------


def test_a_job_fits_beside_what_is_reserved_and_what_running_jobs_may_still_take() -> None:
    running = [Holding(300 * MIB, 200 * MIB)]
    view = MemoryView(700 * MIB, 1000 * MIB, None)  # of which 120 MiB are never given out
    assert view.free_bytes(running) == 380 * MIB
    assert replace(view, budget_bytes=400 * MIB).free_bytes(running) == 100 * MIB


def test_no_more_is_ever_reserved_than_there_is_without_what_is_never_given_out() -> None:
    view = MemoryView(1000 * MIB, 1000 * MIB, None)  # read before the jobs had taken anything
    assert view.free_bytes([Holding(300 * MIB, 0), Holding(400 * MIB, 0)]) == 180 * MIB


def test_of_an_unknown_machine_nothing_is_known_to_be_free() -> None:
    assert MemoryView(None, None, None).free_bytes([]) is None
    assert MemoryView(None, None, 400 * MIB).free_bytes([Holding(300 * MIB, 0)]) == 100 * MIB


@given(
    available=st.none() | st.integers(0, 2000),
    budget=st.none() | st.integers(1, 2000),
    holdings=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 500), st.integers(0, 500)), max_size=12),
)
def test_the_ledger_says_the_same_as_a_look_at_all_workers(
    available: int | None, budget: int | None, holdings: list[tuple[int, int, int]]
) -> None:
    view = MemoryView(available, 1500, budget)
    held = {9: Holding(100, 50)}
    ledger = Ledger(view, held)
    for worker, reserved, growth in holdings:
        held[worker] = Holding(reserved, growth)
        ledger.put(worker, held[worker])
        for one in range(1, 11):
            others = [holding for other, holding in held.items() if other != one]
            assert ledger.free_without(one) == view.free_bytes(others)
            assert ledger.runs_without(one) == any(holding.reserved_bytes for holding in others)


def together(*holdings: Holding) -> Ledger:
    return Ledger(MemoryView(None, None, 10_000), dict(enumerate(holdings)))


def test_of_many_jobs_less_is_booked_than_the_sum_of_what_each_may_take() -> None:
    one = Holding(200, 200, likely_bytes=100.0, variance=30.0**2)
    assert together(one).free_without(9) == 10_000 - 100 - 90, "of one: three standard deviations above its mean"
    assert together(*[one] * 9).free_without(9) == 10_000 - 900 - 270, "of nine: three times those of one"
    sharp = Holding(150, 150, likely_bytes=100.0, variance=30.0**2)
    assert together(sharp).free_without(9) == 10_000 - 150, "never more than what it is bound to"


def test_what_a_job_needs_beside_others_is_what_would_be_free_without_it() -> None:
    one = Holding(200, 200, likely_bytes=100.0, variance=30.0**2)
    for count in (0, 1, 4, 16):
        before, after = together(*[one] * count).free_without(99), together(*[one] * (count + 1)).free_without(99)
        assert before is not None and after is not None
        assert abs(before - after - together(*[one] * count).need_bytes(99, one)) <= 1


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 250)), max_size=12))
def test_pooled_bookings_never_exceed_the_sum_nor_fall_below_the_means(jobs: list[tuple[int, int, int]]) -> None:
    holdings = [Holding(reserved, reserved, float(likely), sd**2) for reserved, likely, sd in jobs]
    free = together(*holdings).free_without(99)
    assert free is not None
    booked = 10_000 - free
    assert booked <= sum(one.reserved_bytes for one in holdings)
    assert booked >= sum(min(one.reserved_bytes, one.mean_bytes) for one in holdings) - 1e-6


def test_at_least_96_mib_are_the_machines_own() -> None:
    assert MemoryView(None, 200 * MIB, None).reserve_bytes == 96 * MIB
    assert MemoryView(None, None, None).reserve_bytes == 96 * MIB
    assert MemoryView(None, 1000 * MIB, None).reserve_bytes == 120 * MIB


def test_the_largest_job_ever_is_bounded_by_machine_and_budget_and_by_nothing_when_both_are_unknown() -> None:
    assert MemoryView(None, 1000 * MIB, None).largest_job_bytes() == 880 * MIB
    assert MemoryView(None, 1000 * MIB, 500 * MIB).largest_job_bytes() == 500 * MIB
    assert MemoryView(5 * MIB, None, None).largest_job_bytes() is None
