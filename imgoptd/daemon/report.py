"""What the daemon shows of itself: its status, its workers, and what waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from imgoptd.core.engine import Engine
from imgoptd.core.fleet import Worker
from imgoptd.core.model import JobState
from imgoptd.core.shape import AGES_S, shape
from imgoptd.core.text import show_path
from imgoptd.daemon.folders import Folders


class Report:
    """Reads the engine's state between two turns; it asks nobody and changes nothing."""

    def __init__(self, engine: Engine, folders: Folders, store_trouble: Callable[[], str]) -> None:
        """`store_trouble`: why the store cannot be written just now, or empty."""
        self._engine = engine
        self._folders = folders
        self._store_trouble = store_trouble
        self._started_s = time.monotonic()
        self.totals: dict[str, int] = {}
        """All-time totals of the store at the start of this run."""
        self.senses: Callable[[], list[str]] = list
        """What would tell by itself that memory runs short."""

    def status(self) -> dict[str, Any]:
        engine = self._engine
        inputs = engine.dispatcher.inputs()
        counts = engine.story.counts
        sensed = engine.dispatcher.conditions.sensed
        last = engine.dispatcher.scaler.last
        busy = sum(1 for worker in engine.fleet.workers.values() if worker.tasks)
        wanted = engine.dispatcher.conditions.wanted
        running = max(1, min(inputs.workers_max, wanted))
        # What waits counts for nothing in a decision while nothing is given out; it waits all the same.
        cpu_s = inputs.backlog_cpu_s + (0.0 if self._state() == "running" else engine.jobs.backlog.ready_cpu_s)
        cpu_s += self._stored_cpu_s()
        done = self._counts()
        saved = _bytes(counts["bytes_before"], counts["bytes_after"])
        return {
            "state": self._state(),
            "generation": engine.generation,
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "workers": {
                "wanted": wanted,
                "running": inputs.workers,
                "busy": busy,
                "parked": len(engine.dispatcher.spares),
                "min": inputs.workers_min,
                "max": inputs.workers_max,
                "overridden": engine.dispatcher.conditions.overridden,
            },
            "backlog": {
                "jobs": engine.jobs.backlog.jobs + engine.fleet.running_jobs() + engine.jobs.overflow.jobs,
                "bytes": engine.jobs.backlog.bytes,
                "cpu_s": round(cpu_s, 3),
                "eta_s": None if self._state() == "paused" else round(cpu_s / running, 3),
                "in_store": engine.jobs.overflow.jobs,
                "settling": len(engine.intake.settler.candidates),
            },
            "counts": done,
            "bytes": saved,
            "total": {
                "counts": {
                    name: done[name] + (self.totals.get(name, 0) if name not in ("held", "deferred") else 0)
                    for name in done
                },
                "bytes": _bytes(
                    counts["bytes_before"] + self.totals.get("bytes_before", 0),
                    counts["bytes_after"] + self.totals.get("bytes_after", 0),
                ),
            },
            "pressure": {
                "memory_some_avg10": sensed.psi_some_avg10,
                "available_bytes": sensed.available_bytes,
                "budget_bytes": inputs.budget_bytes
                if inputs.budget_bytes is not None
                else engine.dispatcher.conditions.memory().largest_job_bytes(),
                "reserved_bytes": inputs.reserved_bytes,
                "memory_some_rate": sensed.psi_some_rate,
                "cpu_quota": sensed.cpu_quota,
                "senses": self.senses(),
            },
            "scaling": {
                "state": engine.dispatcher.conditions.state,
                "last": {"from": last.before, "to": last.after, "reason": last.reason} if last else None,
            },
            "machine": self._machine(),
            "store": {"trouble": self._store_trouble()},
            "undo": {
                "files": engine.jobs.undo.files,
                "bytes": engine.jobs.undo.bytes,
                "max_bytes": engine.jobs.undo.max_bytes,
            },
            "folders": self._folders.shown(),
            "breakers": self._breakers(),
        }

    def _stored_cpu_s(self) -> float:
        """What the files that wait in the store alone are likely to take: as much as those in memory, on average."""
        jobs = self._engine.jobs
        size = jobs.backlog.bytes // jobs.backlog.jobs if jobs.backlog.jobs else 0
        return jobs.overflow.jobs * jobs.estimator.mean_cpu_s(size)

    def _state(self) -> str:
        conditions = self._engine.dispatcher.conditions
        return "draining" if conditions.draining else "paused" if conditions.paused else "running"

    def _machine(self) -> dict[str, Any]:
        """The last reading of the sensors; None is unknown. `unknown` names what could not be read."""
        sensed = self._engine.dispatcher.conditions.sensed
        figures = {
            "cpus": sensed.cpus,
            "others_cpus": sensed.others_cpus,
            "available_bytes": sensed.available_bytes,
            "limit_bytes": sensed.limit_bytes,
            "memory_some_rate": sensed.psi_some_rate,
            "memory_some_avg10": sensed.psi_some_avg10,
        }
        return figures | {"unknown": sorted(name for name, value in figures.items() if value is None)}

    def scale_range(self) -> dict[str, Any]:
        """How many workers there may be, and whether an operator said so."""
        steering, conditions = self._engine.steering, self._engine.dispatcher.conditions
        least, most = steering.configured
        now = {"min": steering.in_force.least, "max": steering.in_force.most, "overridden": conditions.overridden}
        return now | {"configured": {"min": least, "max": most}}

    def pause(self) -> dict[str, Any]:
        """Whether jobs are given out, and how many there are."""
        engine = self._engine
        return {"state": self._state(), "running": engine.fleet.running_jobs(), "queued": engine.jobs.backlog.jobs}

    def _counts(self) -> dict[str, int]:
        engine = self._engine
        counts = engine.story.counts
        return {
            "done": counts[JobState.DONE],
            "skipped": counts[JobState.SKIPPED],
            "held": len(engine.jobs.held),
            "deferred": engine.deferred(),
            "quarantined": counts[JobState.QUARANTINED],
        }

    def _breakers(self) -> list[dict[str, Any]]:
        """Each disk that is under suspicion or taken for sick, as one watched folder sees it."""
        now_s, jobs = time.monotonic(), self._engine.jobs
        return [
            {
                "path": place.root,
                "device": f"{os.major(place.dev)}:{os.minor(place.dev)}",
                "folder": os.path.dirname(breaker.ref.full),
                "state": breaker.state,
                "reason": breaker.failure.reason,
                "detail": breaker.failure.detail,
                "for_s": round(now_s - breaker.since_s, 3),
                "next_try_s": None if breaker.next_s is None else round(max(0.0, breaker.next_s - now_s), 3),
                "jobs": jobs.backlog.jobs_on(place),
            }
            for place, breaker in jobs.places.breakers.known.items()
        ]

    def workers(self) -> list[dict[str, Any]]:
        return [self._worker(worker, time.monotonic()) for worker in self._engine.fleet.workers.values()]

    def _worker(self, worker: Worker, now_s: float) -> dict[str, Any]:
        gauge = self._engine.gauges.of(worker.id)
        share = gauge.cpu_share if worker.tasks else 0.0  # idle ones are not read: the last share is of their last job
        return {
            "worker": worker.id,
            "pid": worker.pid,
            "state": worker.state,
            "job": worker.tasks[0].ref.full if worker.tasks else None,
            "queued": max(0, len(worker.tasks) - 1),
            "cpu_s": round(max(worker.cpu_s, gauge.cpu_s or 0.0), 3),
            "cpu_share": None if share is None else round(share, 3),
            "rss_bytes": worker.rss_bytes,
            "peak_bytes": max(worker.peak_bytes, gauge.peak_bytes),
            "reserved_bytes": worker.reserved_bytes,
            "jobs_done": worker.jobs_done,
            "bytes_in": worker.bytes_in,
            "bytes_out": worker.bytes_out,
            "age_s": round(now_s - worker.started_s, 3),
            "folder": worker.domain.root,
            "uid": worker.domain.uid,
        }

    def qshape(self) -> dict[str, Any]:
        engine = self._engine
        waiting = [
            (ref.root, candidate.noticed_s, str(JobState.SETTLING))
            for ref, candidate in engine.intake.settler.candidates.items()
        ]
        waiting += [(job.ref.root, job.noticed_s, str(job.record.state)) for job in engine.jobs.by_ref.values()]
        rows = shape(waiting, time.monotonic())
        return {
            "ages_s": list(AGES_S),
            "in_store": engine.jobs.overflow.jobs,
            "folders": [
                {"path": root, "ages": row.ages, "states": dict(row.states), "oldest_s": round(row.oldest_s, 3)}
                for root, row in sorted(rows.items())
            ],
        }

    def summary(self) -> str:
        """One line for `systemctl status`."""
        engine = self._engine
        inputs = engine.dispatcher.inputs()
        troubled = [show_path(root) for root in self._folders.troubles()]
        busy = sum(1 for worker in engine.fleet.workers.values() if worker.tasks)
        text = "paused, " if engine.dispatcher.conditions.paused else ""
        text += f"watching {len(self._folders.roots()) - len(troubled)} folders, {inputs.backlog_jobs} jobs, "
        text += f"{busy} of {inputs.workers} workers busy, {engine.story.counts[JobState.DONE]} done"
        return f"NOT watching {', '.join(troubled)}; {text}" if troubled else text


def _bytes(before: int, after: int) -> dict[str, int]:
    return {"before": before, "after": after, "saved": before - after}
