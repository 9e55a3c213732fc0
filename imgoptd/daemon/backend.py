"""What the control interface shows of the daemon, and asks of it."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from imgoptd.adapters.control import NotSeen, NotWatched
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.finished import NOT_A_FILE, SYMLINK, VANISHED, same_content
from imgoptd.core.job import WAITING, Job, Stage
from imgoptd.core.model import FileRecord, FileRef, JobState
from imgoptd.core.shape import AGES_S, shape
from imgoptd.core.text import show_path
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.undo import Undo

RESTING = frozenset({JobState.DONE, JobState.SKIPPED, JobState.QUARANTINED, JobState.HELD, JobState.DEFERRED})
WAIT_PAUSE_S = 0.05
WAIT_LOOK_S = 0.5
"""How often a waiting client's files are looked at although no turn was made."""


class Backend:
    """Answers from the engine's state and the store; it decides nothing."""

    def __init__(
        self,
        engine: Engine,
        store: StoreThread,
        folders: Folders,
        undo: Undo,
        *,
        post: Callable[[e.Event], None],
        reload: Callable[[], Awaitable[dict[str, Any]]],
        store_trouble: Callable[[], str],
    ) -> None:
        """`store_trouble`: why the store cannot be written just now, or empty."""
        self._engine = engine
        self._store = store
        self._folders = folders
        self._post = post
        self._undo = undo
        self._reload = reload
        self._store_trouble = store_trouble
        self._waiting: set[asyncio.Event] = set()
        self._started_s = time.monotonic()
        self.totals: dict[str, int] = {}
        """All-time totals of the store at the start of this run."""

    def status(self) -> dict[str, Any]:
        engine = self._engine
        inputs = engine.dispatcher.inputs()
        counts = engine.story.counts
        sensed = engine.dispatcher.sensed
        last = engine.dispatcher.scaler.last
        busy = sum(1 for worker in engine.fleet.workers.values() if worker.tasks)
        wanted = engine.dispatcher.wanted
        running = max(1, min(inputs.workers_max, wanted))
        done = self._counts()
        saved = _bytes(counts["bytes_before"], counts["bytes_after"])
        return {
            "state": "draining" if engine.dispatcher.draining else "running",
            "generation": engine.generation,
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "workers": {
                "wanted": wanted,
                "running": inputs.workers,
                "busy": busy,
                "min": inputs.workers_min,
                "max": inputs.workers_max,
            },
            "backlog": {
                "jobs": inputs.backlog_jobs,
                "bytes": engine.jobs.backlog.bytes,
                "cpu_s": round(inputs.backlog_cpu_s, 3),
                "eta_s": round(inputs.backlog_cpu_s / running, 3),
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
                else engine.dispatcher.memory().largest_job_bytes(),
                "reserved_bytes": inputs.reserved_bytes,
            },
            "scaling": {
                "state": engine.dispatcher.state,
                "last": {"from": last.before, "to": last.after, "reason": last.reason} if last else None,
            },
            "store": {"trouble": self._store_trouble()},
            "undo": {
                "files": engine.jobs.undo.files,
                "bytes": engine.jobs.undo.bytes,
                "max_bytes": engine.jobs.undo.max_bytes,
            },
            "folders": self._folders.shown(),
            "breakers": self._breakers(),
        }

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
        now_s = time.monotonic()
        return [
            {
                "worker": worker.id,
                "pid": worker.pid,
                "state": worker.state,
                "job": worker.tasks[0].ref.full if worker.tasks else None,
                "queued": max(0, len(worker.tasks) - 1),
                "cpu_s": round(worker.cpu_s, 3),
                "rss_bytes": worker.rss_bytes,
                "peak_bytes": worker.peak_bytes,
                "reserved_bytes": worker.reserved_bytes,
                "jobs_done": worker.jobs_done,
                "bytes_in": worker.bytes_in,
                "bytes_out": worker.bytes_out,
                "age_s": round(now_s - worker.started_s, 3),
                "folder": worker.domain.root,
                "uid": worker.domain.uid,
            }
            for worker in self._engine.fleet.workers.values()
        ]

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
            "folders": [
                {"path": root, "ages": row.ages, "states": dict(row.states), "oldest_s": round(row.oldest_s, 3)}
                for root, row in sorted(rows.items())
            ],
        }

    async def retry(self, paths: Sequence[bytes] | None) -> dict[str, Any]:
        if paths is None:
            return await self._retry_failed()
        refs = [self._watched(path) for path in paths]
        known = await self._store.files(refs)
        there = await asyncio.to_thread(lambda: [os.path.lexists(ref.full) for ref in refs])
        answers = []
        for path, ref, record, exists in zip(paths, refs, known, there, strict=True):
            state, _, _ = self._state(ref, record)
            ignored = self._folders.ignored(ref)
            if not exists:
                raise NotSeen(path)
            detail = f"the folder's rules leave it alone: {ignored}" if ignored is not None else ""
            if state == JobState.ACTIVE:
                detail = "it is being worked on"
            if not detail:
                self._post(e.RetryRequested(ref))
            answers.append({"path": path, "state": state, "queued": not detail, "detail": detail})
        return {"files": answers, "queued": sum(answer["queued"] for answer in answers)}

    async def _retry_failed(self) -> dict[str, Any]:
        jobs = self._engine.jobs
        refs = {job.ref for job in jobs.by_ref.values() if job.stage is Stage.WAITING}
        last = 0
        while page := await self._store.quarantined(last):
            last = page[-1][0]
            refs.update(ref for _, ref in page if self._folders.folder(ref.root) is not None)
        for ref in refs:
            self._post(e.RetryRequested(ref))
        return {"files": [], "queued": len(refs)}

    async def why(self, path: bytes) -> dict[str, Any]:
        ref = self._watched(path)
        record = await self._store.file(ref)
        steps = await self._store.history(ref)
        state, reason, detail = self._state(ref, record)
        if not state:
            ignored = self._folders.ignored(ref)
            if ignored is None:
                raise NotSeen(path)
            state, reason, detail = JobState.SKIPPED, "excluded", f"the folder's rules leave it alone: {ignored}"
        kept = await self._undo.kept_of(ref)
        facts = record.facts if record else None
        return {
            "path": path,
            "state": state,
            "reason": reason,
            "detail": detail,
            "bytes_before": record.bytes_before if record else 0,
            "bytes_after": record.bytes_after if record else 0,
            "sha256": record.sha256 if record else "",
            "attempts": record.attempts if record else 0,
            "format": facts.format if facts else "",
            "width": facts.width if facts else 0,
            "height": facts.height if facts else 0,
            "estimate": _estimate(self._engine.jobs.by_ref.get(ref)),
            "kept_until": kept[0][0] + self._undo.keep_s if kept else None,
            "steps": [{"time": time_s, "step": step, "text": text} for time_s, step, text in steps],
        }

    async def wait(self, paths: Sequence[bytes], timeout_s: float | None) -> list[dict[str, Any]]:
        answers: dict[int, dict[str, Any]] = {}
        waiting = {index: (self._watched(path), path) for index, path in enumerate(paths)}
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        turned = asyncio.Event()
        self._waiting.add(turned)
        try:
            while True:
                turned.clear()
                for index, answer in zip(waiting, await self._answers(list(waiting.values())), strict=True):
                    answers[index] = answer
                waiting = {index: one for index, one in waiting.items() if not answers[index]["finished"]}
                left_s = WAIT_LOOK_S if deadline_s is None else min(WAIT_LOOK_S, deadline_s - time.monotonic())
                if left_s <= 0 or not waiting:
                    return [answers[index] for index in range(len(paths))]
                # Not at every turn of a burst: each look asks the store, which has commits to make.
                await asyncio.sleep(min(left_s, WAIT_PAUSE_S))
                try:
                    async with asyncio.timeout(left_s):
                        await turned.wait()
                except TimeoutError:
                    pass  # look again: the file on disk may have changed without a turn
        finally:
            self._waiting.discard(turned)

    def turned(self) -> None:
        """A turn is over: whoever waits for a file looks again."""
        for event in self._waiting:
            event.set()

    async def reload(self) -> dict[str, Any]:
        return await self._reload()

    async def restore(
        self, paths: Sequence[bytes], since_s: float | None, folders: Sequence[bytes], force: bool
    ) -> list[dict[str, Any]]:
        files = [(self._watched(path), path) for path in paths]
        if since_s is not None:
            named = {ref for ref, _ in files}
            files += [(ref, ref.full) for ref in await self._undo.since(since_s, folders) if ref not in named]
        return await self._undo.bring_back(files, force=force)

    async def _answers(self, files: Sequence[tuple[FileRef, bytes]]) -> list[dict[str, Any]]:
        records = await self._store.files([ref for ref, _ in files])
        # In a thread: a mount that hangs must not hang the daemon.
        current = await asyncio.to_thread(lambda: [record is None or _is_about_now(record) for record in records])
        rows = zip(files, records, current, strict=True)
        return [self._answer(ref, path, record, now) for (ref, path), record, now in rows]

    def _answer(self, ref: FileRef, path: bytes, record: FileRecord | None, current: bool) -> dict[str, Any]:
        state, reason, detail = self._state(ref, record)
        if not state and (ignored := self._folders.ignored(ref)) is not None:
            state, reason, detail = JobState.SKIPPED, "excluded", f"the folder's rules leave it alone: {ignored}"
        finished = state in RESTING and current
        return {"path": path, "state": state, "reason": reason, "detail": detail, "finished": finished}

    def _state(self, ref: FileRef, record: FileRecord | None) -> tuple[str, str, str]:
        """What the engine knows comes first: it is ahead of the store by a turn."""
        engine = self._engine
        if ref in engine.intake.settler.candidates:
            lost = engine.jobs.places.kept_back(ref, None, time.monotonic())
            if lost is not None:
                return JobState.DEFERRED, lost.reason, lost.detail
            return JobState.SETTLING, "", "it is looked at until it is complete"
        job = engine.jobs.by_ref.get(ref)
        if job is not None:
            if job.stage in WAITING and job.record.state is not JobState.HELD:
                kept = engine.jobs.places.kept_back(ref, job.place, time.monotonic())
                if kept is not None:
                    return JobState.DEFERRED, kept.reason, kept.detail
            state = JobState.ACTIVE if job.stage is Stage.REPLACING else job.record.state
            return state, job.record.reason, job.record.detail
        if record is None:
            return "", "", ""
        return record.state, record.reason, record.detail

    def _watched(self, path: bytes) -> FileRef:
        ref = self._folders.covering(path)
        if ref is None:
            raise NotWatched(path)
        return ref

    def summary(self) -> str:
        """One line for `systemctl status`."""
        engine = self._engine
        inputs = engine.dispatcher.inputs()
        troubled = [show_path(root) for root in self._folders.troubles()]
        busy = sum(1 for worker in engine.fleet.workers.values() if worker.tasks)
        text = f"watching {len(self._folders.roots()) - len(troubled)} folders, {inputs.backlog_jobs} jobs, "
        text += f"{busy} of {inputs.workers} workers busy, {engine.story.counts[JobState.DONE]} done"
        return f"NOT watching {', '.join(troubled)}; {text}" if troubled else text


def _is_about_now(record: FileRecord) -> bool:
    """Does the row speak of what stands at the path now, and not of what stood there before?"""
    try:
        status = os.lstat(record.ref.full)
    except OSError:
        return True  # gone or unreachable: the row is all there is
    if record.identity.ino:
        return same_content(record.identity, identity_of(status))
    # Of what could not be opened there is no identity; its kind must do.
    if record.reason == SYMLINK:
        return stat.S_ISLNK(status.st_mode)
    if record.reason == NOT_A_FILE:
        return not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode)
    return record.reason != VANISHED


def _bytes(before: int, after: int) -> dict[str, int]:
    return {"before": before, "after": after, "saved": before - after}


def _estimate(job: Job | None) -> dict[str, Any] | None:
    if job is None or job.record.facts is None:
        return None
    return {"memory_bytes": job.estimate.memory_bytes, "cpu_s": round(job.estimate.cpu_s, 3)}
