"""The heap of deferred jobs: what is due, and what is kept back though it is."""

from __future__ import annotations

from imgoptd.core.deferred import Deferred
from imgoptd.core.job import Job

# ---- the heap of the deferred ---------------------------------------------------------------------------------------
from tests.unit.many_files import deferred_job


def test_a_million_deferred_jobs_cost_nothing_while_they_are_not_due() -> None:
    asked = list[Job]()

    def kept_back(job: Job) -> bool:
        asked.append(job)
        return False

    deferred = Deferred(kept_back)
    for number in range(1000):
        deferred.add(deferred_job(number, 100.0 + number))
    assert deferred.overdue(50.0) == []
    assert (deferred.next_due_s(), asked) == (100.0, [])
    assert [job.due_s for job in deferred.overdue(101.0)] == [100.0, 101.0]


def test_a_job_kept_back_when_it_is_due_comes_when_it_is_woken_and_only_once() -> None:
    shut = True
    deferred = Deferred(lambda job: shut)
    deferred.add(job := deferred_job(1, 10.0))
    deferred.add(later := deferred_job(2, 500.0))
    assert deferred.overdue(20.0) == []
    assert deferred.next_due_s() == 500.0
    shut = False
    deferred.wake(30.0, lambda one: False)
    deferred.wake(30.0, lambda one: False)
    assert deferred.overdue(30.0) == [job]
    deferred.discard(job.ref)
    deferred.wake(40.0, lambda one: one is later)
    assert deferred.overdue(40.0) == [later]
