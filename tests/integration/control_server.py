"""A control socket that really listens, in a thread, with a small backend behind it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from imgoptd.adapters.control import Control
from imgoptd.adapters.control_errors import ControlError, NotSeen, NotWatched

STATUS = {
    "state": "running",
    "generation": 1,
    "uptime_s": 12.5,
    "workers": {"wanted": 2, "running": 2, "busy": 2, "min": 0, "max": 2},
    "backlog": {"jobs": 40, "bytes": 123, "cpu_s": 31.0, "eta_s": 16.0},
    "counts": {"done": 10, "skipped": 1, "held": 0, "deferred": 0, "quarantined": 0},
    "bytes": {"before": 1000, "after": 800, "saved": 200},
    "pressure": {"memory_some_avg10": 0.0, "available_bytes": 1, "budget_bytes": 1, "reserved_bytes": 1},
    "scaling": {"state": "run", "last": {"from": 1, "to": 2, "reason": "backlog"}},
}


class Known:
    """Watches one folder. A file's name up to the dot is its state; `unseen`, `bug`, `never` are special."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.waiting, self.wait_cancelled = threading.Event(), threading.Event()
        self.reload_began, self.reload_ended, self.hold_reload = (threading.Event() for _ in range(3))
        self.hold_reload.set()
        self.asked_range: tuple[int, int] | None = None
        self.paused = False
        self.restore_asked: tuple[float | None, list[bytes], bool] | None = None
        self.reload_answer: dict[str, Any] = {"ok": True, "changes": ["watch /srv/a: priority 5 -> 3"], "error": ""}

    def status(self) -> dict[str, Any]:
        return STATUS

    def workers(self) -> list[dict[str, Any]]:
        return [{"worker": 1, "pid": 4711, "state": "busy", "job": self.root + b"/a\xff.jpg", "rss_bytes": 1 << 20}]

    async def why(self, path: bytes) -> dict[str, Any]:
        name = self._name(path)
        if name == b"unseen":
            raise NotSeen(path)
        if name == b"bug":
            return {"never": 1 / 0}
        steps = [{"time": 1714557600.0, "step": "queued", "text": "jpeg, 640 x 480"}]
        return {"path": path, "state": "skipped", "reason": "empty", "detail": "it holds nothing", "steps": steps}

    async def wait(self, paths: Sequence[bytes], timeout_s: float | None) -> list[dict[str, Any]]:
        names = [self._name(path) for path in paths]
        if b"never" in names:
            self.waiting.set()
            try:
                await asyncio.sleep(3600 if timeout_s is None else timeout_s)
            except asyncio.CancelledError:
                self.wait_cancelled.set()
                raise
        states = ["active" if name == b"never" else name.partition(b".")[0].decode() for name in names]
        return [
            {"path": path, "state": state, "reason": "", "detail": ""}
            for path, state in zip(paths, states, strict=True)
        ]

    def qshape(self) -> dict[str, Any]:
        row = {"path": self.root + b"/\xff", "ages": [2, 0, 1], "states": {"queued": 3}, "oldest_s": 4000.0}
        return {"ages_s": [60.0, 3600.0], "folders": [row]}

    async def jobs(self, state: str | None, limit: int) -> dict[str, Any]:
        job = {"path": self.root + b"/a\xff.jpg", "state": state or "queued", "fresh": True, "bytes": 1 << 20}
        return {"jobs": [job][:limit], "shown": 1, "total": 7, "counts": {"queued": 7, "held": 0}}

    def scale_range(self) -> dict[str, Any]:
        least, most = self.asked_range or (0, 2)
        overridden = self.asked_range is not None
        return {"min": least, "max": most, "overridden": overridden, "configured": {"min": 0, "max": 2}}

    async def scale(self, least: int | None, most: int | None) -> dict[str, Any]:
        now = self.scale_range()
        wanted = now["min"] if least is None else least, now["max"] if most is None else most
        if wanted[0] > wanted[1]:
            raise ControlError(f"{wanted[0]} workers at least and {wanted[1]} at most is no range", "give both")
        self.asked_range = wanted
        return self.scale_range()

    async def scale_auto(self) -> dict[str, Any]:
        self.asked_range = None
        return self.scale_range()

    async def pause(self) -> dict[str, Any]:
        return self._paused(True)

    async def resume(self) -> dict[str, Any]:
        return self._paused(False)

    def _paused(self, paused: bool) -> dict[str, Any]:
        changed, self.paused = self.paused is not paused, paused
        return {"state": "paused" if paused else "running", "changed": changed, "running": 1, "queued": 7}

    async def retry(self, paths: Sequence[bytes] | None) -> dict[str, Any]:
        files = [{"path": path, "queued": self._name(path) != b"busy"} for path in paths or ()]
        return {"files": files, "queued": 7 if paths is None else sum(bool(one["queued"]) for one in files)}

    async def restore(
        self, paths: Sequence[bytes], since_s: float | None, folders: Sequence[bytes], force: bool
    ) -> list[dict[str, Any]]:
        names = [self._name(path) for path in paths] + ([b"recent.jpg"] if since_s else [])
        self.restore_asked = (since_s, list(folders), force)
        return [
            {
                "path": self.root + b"/" + name,
                "restored": name.startswith(b"recent"),
                "reason": "" if name.startswith(b"recent") else "nothing-kept",
                "detail": "",
                "bytes": 7,
            }
            for name in names
        ]

    async def reload(self) -> dict[str, Any]:
        self.reload_began.set()
        await asyncio.to_thread(self.hold_reload.wait, 20)
        self.reload_ended.set()
        return self.reload_answer

    def _name(self, path: bytes) -> bytes:
        if not path.startswith(self.root + b"/"):
            raise NotWatched(path)
        return path[len(self.root) + 1 :]


class Server:
    """Runs a Control in an event loop of its own thread, from `with` to its end."""

    def __init__(self, path: Path, backend: Known) -> None:
        self.path = path
        self.backend = backend
        self.errors: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._control = Control(os.fsencode(path), backend, self.errors.append)
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Server:
        self._thread.start()
        self._run(self._control.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._control.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def connect(self) -> socket.socket:
        """A connected client, also where the path is too long for an address."""
        client = socket.socket(socket.AF_UNIX)
        folder = os.open(self.path.parent, os.O_PATH)
        try:
            client.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)
        return client

    def _run(self, step: Any) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(20)
