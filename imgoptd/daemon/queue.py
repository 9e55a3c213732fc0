"""The queue as it will run: what runs, what waits in order, and what is kept from running, with estimates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core.dispatch import PROBE_CPU_S
from imgoptd.core.engine import Engine
from imgoptd.core.job import Job, Stage
from imgoptd.core.model import FINAL_STATES, FileRecord, JobState
from imgoptd.daemon.files import Files

SPAN_ROWS = 20_000
"""Rows of the store that are looked through at a time: commits have their turn in between."""
BEYOND_ALL = 1 << 62


LOOKED_AT = 50_000
"""Of jobs and candidates that no index leads to, so many are looked at for one answer: a few milliseconds."""


class Queue:
    """Takes about as many steps as rows are wanted, however many wait."""

    def __init__(self, engine: Engine, store: StoreThread, files: Files) -> None:
        self._engine = engine
        self._store = store
        self._files = files

    async def jobs(self, state: str | None, limit: int) -> dict[str, Any]:
        """As `Backend.jobs` of the control interface says. Ended files are those of the store, the last ones first."""
        counts = self._counts()
        if state in FINAL_STATES:
            rows, total = await self._ended(JobState(state), limit)
        else:
            rows = list(islice(self._rows(state), limit))
            total = sum(counts.values()) if state is None else counts[state]
        return {"jobs": rows, "shown": len(rows), "total": total, "counts": counts}

    def _counts(self) -> dict[str, int]:
        engine, jobs = self._engine, self._engine.jobs
        resting = jobs.backlog.jobs + jobs.backlog.jobs_kept_back + len(jobs.held) + len(jobs.deferred)
        withheld = sum(len(refs) for root, refs in engine.intake.withheld.items() if jobs.places.lost.get(root))
        return {
            "active": len(jobs.by_ref) - resting,
            "queued": jobs.backlog.jobs + jobs.overflow.jobs,
            "held": len(jobs.held),
            "deferred": len(jobs.deferred) + jobs.backlog.jobs_kept_back + withheld,
            "settling": len(engine.intake.settler.candidates) - withheld,
        }

    # ---- what is not ended ------------------------------------------------------------------------------------------

    def _rows(self, state: str | None) -> Iterator[dict[str, Any]]:
        if state in (None, JobState.ACTIVE):
            yield from self._active()
        if state in (None, JobState.QUEUED):
            yield from self._queued()
        jobs = self._engine.jobs
        if state in (None, JobState.HELD):
            yield from (self._row(jobs.by_ref[ref]) for ref in jobs.held)
        if state in (None, JobState.DEFERRED):
            deferred = (jobs.by_ref[ref] for ref in jobs.deferred)
            yield from (self._row(job) for job in chain(deferred, jobs.backlog.kept_back()))
        if state in (None, JobState.DEFERRED, JobState.SETTLING):
            yield from (row for row in self._candidates() if state in (None, row["state"]))

    def _active(self) -> Iterator[dict[str, Any]]:
        """What workers have, then what is being put in place."""
        engine, shown = self._engine, 0
        for worker in engine.fleet.workers.values():
            for job in worker.tasks:
                shown += 1
                ran_s = time.monotonic() - worker.head_since_s if job in worker.handed[:1] else 0.0
                yield self._row(job, eta_s=max(0.0, job.estimate.cpu_s - ran_s), worker=worker.id)
        if shown < self._counts()["active"]:
            placed = (job for job in islice(engine.jobs.by_ref.values(), LOOKED_AT) if job.stage in _PLACED)
            yield from (self._row(job) for job in placed)

    def _queued(self) -> Iterator[dict[str, Any]]:
        """In the order in which they will run, each with the time at which it may be done."""
        engine = self._engine
        conditions = engine.dispatcher.conditions
        running = [job for worker in engine.fleet.workers.values() for job in worker.tasks]
        before_cpu_s = sum(job.estimate.cpu_s for job in running)
        workers = max(1, min(conditions.workers_max, max(conditions.wanted, len(engine.fleet.workers))))
        for job in engine.jobs.backlog.upcoming():
            before_cpu_s += job.estimate.cpu_s or PROBE_CPU_S
            yield self._row(job, eta_s=None if conditions.paused else before_cpu_s / workers)

    def _candidates(self) -> Iterator[dict[str, Any]]:
        for ref, candidate in islice(self._engine.intake.settler.candidates.items(), LOOKED_AT):
            state, reason, detail = self._files.state(ref, None)
            row = _EMPTY | {"path": ref.full, "state": state, "reason": reason, "detail": detail}
            yield row | {"fresh": candidate.fresh, "waits_s": _since(candidate.noticed_s)}

    def _row(self, job: Job, eta_s: float | None = None, worker: int | None = None) -> dict[str, Any]:
        state, reason, detail = self._files.state(job.ref, job.record)
        facts = job.record.facts
        return {
            "path": job.ref.full,
            "state": state,
            "reason": reason,
            "detail": detail,
            "fresh": job.record.fresh,
            "priority": job.priority,
            "bytes": job.record.identity.size,
            "format": facts.format if facts else None,
            "memory_bytes": job.estimate.memory_bytes if facts else None,
            "cpu_s": round(job.estimate.cpu_s, 3) if facts else None,
            "eta_s": None if eta_s is None else round(eta_s, 3),
            "waits_s": _since(job.noticed_s),
            "worker": worker,
        }

    # ---- what is ended ----------------------------------------------------------------------------------------------

    async def _ended(self, state: JobState, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Rows, and how many there are in all; None where the store was not looked through to its end."""
        before, rows = BEYOND_ALL, list[dict[str, Any]]()
        while before and len(rows) < limit:
            before, records = await self._store.in_state(state, before, SPAN_ROWS)
            rows += [_ended_row(record) for record in records]
        return rows[:limit], None if before or len(rows) > limit else len(rows)


_PLACED = frozenset({Stage.COPYING, Stage.REPLACING})
_COLUMNS = "path state reason detail fresh priority bytes format memory_bytes cpu_s eta_s waits_s worker"
_EMPTY: dict[str, Any] = dict.fromkeys(_COLUMNS.split())


def _ended_row(record: FileRecord) -> dict[str, Any]:
    row = _EMPTY | {"path": record.ref.full, "state": record.state, "reason": record.reason, "detail": record.detail}
    fmt = record.facts.format if record.facts else None
    return row | {"fresh": record.fresh, "bytes": record.identity.size, "format": fmt}


def _since(noticed_s: float) -> float:
    return round(max(0.0, time.monotonic() - noticed_s), 3)
