"""What is known of single files: the state each is in, its life, and when it is finished."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from typing import Any

from imgoptd.adapters.control_errors import NotSeen, NotWatched
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core.engine import Engine
from imgoptd.core.finished import NOT_A_FILE, SYMLINK, VANISHED, same_content
from imgoptd.core.job import WAITING, Job, Stage
from imgoptd.core.model import FileRecord, FileRef, JobState
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.undo import Undo

RESTING = frozenset({JobState.DONE, JobState.SKIPPED, JobState.QUARANTINED, JobState.HELD, JobState.DEFERRED})
WAIT_PAUSE_S = 0.05
WAIT_LOOK_S = 0.5
"""How often a waiting client's files are looked at although no turn was made."""


class Files:
    """Answers from the engine's state, which is ahead of the store by a turn, and from the store."""

    def __init__(self, engine: Engine, store: StoreThread, folders: Folders, undo: Undo) -> None:
        self._engine = engine
        self._store = store
        self._folders = folders
        self._undo = undo
        self._waiting: set[asyncio.Event] = set()

    async def why(self, path: bytes) -> dict[str, Any]:
        ref = self.watched(path)
        record = await self._store.file(ref)
        steps = await self._store.history(ref)
        state, reason, detail = self.state(ref, record)
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
        waiting = dict(enumerate(paths))
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        turned = asyncio.Event()
        self._waiting.add(turned)
        try:
            while True:
                turned.clear()
                # Asked for each time: of a folder that is watched no longer nothing more comes.
                files = [(self.watched(path), path) for path in waiting.values()]
                for index, answer in zip(waiting, await self._answers(files), strict=True):
                    answers[index] = answer
                waiting = {index: path for index, path in waiting.items() if not answers[index]["finished"]}
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

    async def _answers(self, files: Sequence[tuple[FileRef, bytes]]) -> list[dict[str, Any]]:
        records = await self._store.files([ref for ref, _ in files])
        # In a thread: a mount that hangs must not hang the daemon.
        current = await asyncio.to_thread(lambda: [record is None or _is_about_now(record) for record in records])
        rows = zip(files, records, current, strict=True)
        return [self._answer(ref, path, record, now) for (ref, path), record, now in rows]

    def _answer(self, ref: FileRef, path: bytes, record: FileRecord | None, current: bool) -> dict[str, Any]:
        state, reason, detail = self.state(ref, record)
        if not state and (ignored := self._folders.ignored(ref)) is not None:
            state, reason, detail = JobState.SKIPPED, "excluded", f"the folder's rules leave it alone: {ignored}"
        finished = state in RESTING and current
        return {"path": path, "state": state, "reason": reason, "detail": detail, "finished": finished}

    def state(self, ref: FileRef, record: FileRecord | None) -> tuple[str, str, str]:
        """State, reason and detail, empty where nothing is known. What the engine knows comes first: it is ahead."""
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

    def watched(self, path: bytes) -> FileRef:
        """Raises NotWatched."""
        ref = self._folders.covering(path)
        if ref is None:
            raise NotWatched(path)
        return ref


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


def _estimate(job: Job | None) -> dict[str, Any] | None:
    if job is None or job.record.facts is None:
        return None
    return {"memory_bytes": job.estimate.memory_bytes, "cpu_s": round(job.estimate.cpu_s, 3)}
