"""What must hold after every turn and for every command of the engine, whatever the world does."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from imgoptd.core import commands as c
from imgoptd.core.breaker import State
from imgoptd.core.engine import Engine
from imgoptd.core.finished import EXISTING, UNTOUCHABLE
from imgoptd.core.fleet import WorkerState
from imgoptd.core.job import Stage
from imgoptd.core.model import FINAL_STATES, JobState

if TYPE_CHECKING:
    from tests.unit.edge import Edge

NOT_ABOUT_CONTENT = UNTOUCHABLE | {EXISTING, "vanished", "symlink", "not-a-file"}
"""Reasons of a skip after which the same content may be worked on yet."""


def check_engine(engine: Engine, now_s: float) -> None:
    jobs, fleet = engine.jobs, engine.fleet
    deadline_s = engine.next_deadline_s()
    assert deadline_s is None or deadline_s > now_s, "the loop would turn without a pause"

    assert not jobs.by_ref.keys() & engine.intake.settler.candidates.keys(), "both a candidate and a job"
    held_by = Counter(job.ref for worker in fleet.workers.values() for job in worker.tasks)
    assert all(times == 1 for times in held_by.values()), "two workers on one file"
    for worker in fleet.workers.values():
        assert all(job.domain == worker.domain for job in worker.tasks), "a worker has a task of another domain"
        assert all(jobs.by_ref.get(job.ref) is job for job in worker.tasks), "a worker has a forgotten job"
        if worker.state is not WorkerState.BUSY:
            assert not worker.tasks
    for ref, job in jobs.by_ref.items():
        assert (held_by[ref] == 1) == (job.stage in (Stage.PROBING, Stage.WORKING))
        assert (job.stage is Stage.WAITING) == (ref in jobs.deferred or ref in jobs.held)
        if job.stage is not Stage.COPYING:  # which may follow upon a probe or upon work
            assert (job.record.state is JobState.ACTIVE) == (job.stage in (Stage.WORKING, Stage.REPLACING))

    queued = [job for job in jobs.by_ref.values() if job.stage in (Stage.UNPROBED, Stage.READY)]
    waiting = [job for job in queued if not jobs.backlog.is_shut(job.place)]
    ready = [job for job in waiting if job.stage is Stage.READY]
    assert jobs.backlog.jobs == len(waiting)
    assert jobs.backlog.bytes == sum(job.record.identity.size for job in waiting)
    assert abs(jobs.backlog.ready_cpu_s - sum(job.estimate.cpu_s for job in ready)) < 1e-6
    _check_places(engine, now_s)
    _check_memory(engine)
    _check_spares(engine)


def _check_places(engine: Engine, now_s: float) -> None:
    jobs, places = engine.jobs, engine.jobs.places
    for place, breaker in places.breakers.known.items():
        assert breaker.state is not State.CLOSED, "a closed breaker is kept"
        assert jobs.backlog.is_shut(place), "work is given out on a disk under suspicion"
        assert place.root not in places.lost, "a disk of a lost folder is tried"
        assert breaker.state is State.HALF_OPEN or breaker.next_s is not None, "it would stay so for ever"
    shut = {job.place for job in jobs.by_ref.values() if jobs.backlog.is_shut(job.place)}
    assert all(place.root in places.lost or place in places.breakers.known for place in shut), "shut without a reason"
    for ref in () if engine.dispatcher.conditions.draining else jobs.deferred:
        job = jobs.by_ref[ref]
        assert job.due_s > now_s or jobs.backlog.is_shut(job.place), "its time has come, and nobody will see to it"
    for root, refs in engine.intake.withheld.items():
        assert root in places.lost
        assert all(engine.intake.settler.candidates[ref].due_s is None for ref in refs)


def check_given_out(engine: Engine, action: c.SendProbe | c.SendJob) -> None:
    """At the end of the turn that asks for it."""
    assert not engine.jobs.backlog.is_shut(engine.jobs.by_ref[action.ref].place), "given out on a sick disk"


def _check_memory(engine: Engine) -> None:
    fleet, budget = engine.fleet, engine.dispatcher.conditions.budget_bytes
    # What a job is seen to hold beyond its reservation was not given out: the kernel would have refused most of it.
    granted = [[min(job.booked_bytes, job.reserved_bytes) for job in one.tasks] for one in fleet.workers.values()]
    loads = [load for load in (max(some, default=0) for some in granted) if load]
    if budget is not None and len(loads) > 1:  # one job may start whatever it needs
        assert sum(loads) <= budget, "more is reserved than there is"
    working = [job for one in fleet.workers.values() for job in one.tasks if job.stage is Stage.WORKING]
    assert len(working) == 1 or not any(job.solo for job in working), "a job that runs alone has company"


def _check_spares(engine: Engine) -> None:
    conditions = engine.dispatcher.conditions
    parked = [one for one in engine.fleet.workers.values() if one.state is WorkerState.PARKED]
    beside = conditions.workers_max if conditions.spares_beside and not conditions.overridden else 0
    serving = sum(1 for _ in engine.fleet.serving())
    assert not parked or (not beside and serving + len(parked) <= conditions.workers_max) or len(parked) <= beside


def check_record(edge: Edge, record: c.Record) -> None:
    if isinstance(record, c.SaveFile):
        file = record.record
        if file.state in FINAL_STATES and file.reason not in NOT_ABOUT_CONTENT:
            edge.finished[file.ref] = (file.identity, file.output)


def check_action(edge: Edge, action: c.Action) -> None:
    """Called once all records of the turn are durable."""
    match action:
        case c.SendProbe(number, ref, identity) | c.SendJob(number, ref, identity):
            row = edge.store.files[ref]
            assert row.state is (JobState.ACTIVE if isinstance(action, c.SendJob) else JobState.QUEUED)
            assert row.identity == identity
            assert edge.finished.get(ref) != (identity, row.output), "finished content is given out again"
            assert (ref, identity) not in edge.untouchable, "what stood there before is given out"
            policies = [policy for policy in edge.config.folders if policy.root == ref.root]
            if isinstance(action, c.SendJob) and policies:
                assert (action.mirror.root if action.mirror else b"") == policies[0].output
            worker = edge.workers.get(number)
            if worker is not None:  # else its end is still on the way to the engine
                assert worker.domain == (ref.root, row.uid)
            assert ref not in edge.open, "its descriptors are open already"
            handed = [one for other in edge.workers.values() for one, _, _ in other.tasks]
            assert ref not in handed, "a living worker has it"
            alive = [one for one in edge.pending if isinstance(one, c.SendProbe | c.SendJob | c.Prepare)]
            assert not any(_holds(edge, one, ref) for one in alive), "it is on its way to a worker"
        case c.Prepare(ref):
            assert ref in edge.open
            assert edge.store.files[ref].state is JobState.ACTIVE
        case c.Copy(ref, identity):
            assert ref not in edge.open
            row = edge.store.files[ref]
            assert (row.state, row.identity) == (JobState.ACTIVE, identity)
        case c.Exchange(intent):
            assert edge.store.intents[intent.ref] == intent, "an exchange without its intent"
        case c.Restore(kept):
            assert edge.store.kept[kept.at.name] == kept, "a restore that a crash would not know of"
            assert edge.store.files[kept.ref].identity == kept.identity, "the original would be taken for a new file"
        case c.LookAt(ref):
            assert any(policy.root == ref.root for policy in edge.config.folders), "a look outside the folders"


def _holds(edge: Edge, action: c.SendProbe | c.SendJob | c.Prepare, ref: object) -> bool:
    return action.ref == ref and (isinstance(action, c.Prepare) or action.worker in edge.workers)
