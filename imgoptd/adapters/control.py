"""The control interface: HTTP with JSON on a unix socket, so that `curl --unix-socket` works as well as imgoptctl.

| route | body | answer |
|---|---|---|
| GET /v1/status | | the object that `imgoptctl status --json` shows |
| GET /v1/workers | | {"workers": [...]} |
| GET /v1/why?path=P | | the life of one file |
| POST /v1/wait | {"paths": [P, ...], "timeout_s": 5} | {"files": [...]} once each is finished, or at the timeout |
| GET /v1/qshape | | {"ages_s": [...], "folders": [...]}: what waits, by folder and age |
| GET /v1/jobs?state=S&limit=N | | {"jobs": [...], "shown", "total", "counts"}: the queue as it will run |
| GET /v1/scale | | {"min", "max", "overridden", "configured": {"min", "max"}} |
| POST /v1/scale | {"min": 1, "max": 4}, either, or {"auto": true} | the same, as it is now |
| POST /v1/pause, POST /v1/resume | | {"state", "changed", "running", "queued"} |
| POST /v1/retry | {"paths": [P, ...]} or {"failed": true} | {"files": [...], "queued": n} |
| POST /v1/restore | {"paths": [P, ...], "since_s": 7200, "folders": [P], "force": false} | {"files": [...]} |
| POST /v1/reload | | {"ok": true, "changes": [...]} |

P is an absolute path without empty steps, `.` and `..`, its bytes percent-encoded (RFC 3986), since a path need not be
text. In answers a path is a JSON string in which bytes that are no UTF-8 stand as lone surrogates (PEP 383). Errors:
{"error": {"reason", "message", "mend"}} with a fitting status; `reason` is a short fixed word.
"""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import quote_from_bytes

from aiohttp import web

from imgoptd.adapters import control_arguments as arguments
from imgoptd.adapters import control_socket
from imgoptd.adapters.control_errors import ControlError, Stopping

_BODY_LIMIT_BYTES = 4 << 20
_LINE_LIMIT_BYTES = 16384
"""A path of PATH_MAX (4096) bytes, percent-encoded, and the rest of a request line."""
_CLOSING_S = 1.0
"""How long requests may still run when the daemon stops."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Backend(Protocol):
    """What the daemon answers with. Values: whatever JSON has, and bytes for paths."""

    def status(self) -> dict[str, Any]:
        """The object of `imgoptctl status --json`."""

    def workers(self) -> list[dict[str, Any]]:
        """One for each worker: worker, pid, state, job (path or None), cpu_s, rss_bytes, jobs_done, age_s."""

    async def why(self, path: bytes) -> dict[str, Any]:
        """path, state, reason, detail, bytes_before, bytes_after, and steps: [{time (Unix seconds), step, text}].

        Raises NotWatched or NotSeen.
        """

    async def wait(self, paths: Sequence[bytes], timeout_s: float | None) -> list[dict[str, Any]]:
        """Return {path, state, reason, detail, finished} of each, in order, once all are finished or the time is over.

        Finished: done, skipped, quarantined, held or deferred, as the file stands now. Raises NotWatched, also when a
        folder is watched no longer while it waits. It is cancelled when the client goes away.
        """

    def qshape(self) -> dict[str, Any]:
        """ages_s: bounds of the columns, the last one being older. folders: [{path, ages, states, oldest_s}]."""

    async def jobs(self, state: str | None, limit: int) -> dict[str, Any]:
        """The first `limit` jobs, those of one state if given; total: how many there are; counts: of each state.

        jobs: [{path, state, reason, detail, fresh, priority, bytes, format, memory_bytes, cpu_s, eta_s, waits_s}].
        """

    def scale_range(self) -> dict[str, Any]:
        """min, max, overridden, and configured: {min, max}."""

    async def scale(self, least: int | None, most: int | None) -> dict[str, Any]:
        """Override the range until the next start; None leaves that end as it is, most 0 is the CPUs.

        Answers as `scale_range`. Raises ControlError where least is more than most.
        """

    async def scale_auto(self) -> dict[str, Any]:
        """Give the range back to the configuration. Answers as `scale_range`."""

    async def pause(self) -> dict[str, Any]:
        """state, changed (it was not paused before), running, queued."""

    async def resume(self) -> dict[str, Any]:
        """As `pause`."""

    async def retry(self, paths: Sequence[bytes] | None) -> dict[str, Any]:
        """queued: how many are done once more. files: {path, state, queued, detail} of each path.

        None asks for all that are quarantined, deferred or held. Raises NotWatched or NotSeen before anything is done.
        """

    async def restore(
        self, paths: Sequence[bytes], since_s: float | None, folders: Sequence[bytes], force: bool
    ) -> list[dict[str, Any]]:
        """Bring originals back: those of the paths, and with `since_s` all that were kept in that time (seconds), below
        one of the folders if any is named. {path, restored, reason, detail, bytes} of each. Raises NotWatched at once.
        """

    async def reload(self) -> dict[str, Any]:
        """ok, changes (sentences), error (a sentence; empty when ok), generation."""


class Control:
    """Serves the routes at `path`. Start and stop belong to one event loop."""

    def __init__(
        self, path: bytes, backend: Backend, on_error: Callable[[str], None] | None = None, mode: int = 0o600
    ) -> None:
        """`on_error` is given the traceback of a request that failed through our fault. `mode` is the socket's."""
        self._path = path
        self._backend = backend
        self._on_error = on_error
        self._mode = mode
        self._runner: web.AppRunner | None = None
        self._inode = (0, 0)
        self._waits: set[asyncio.Future[list[dict[str, Any]]]] = set()
        self._reloading: asyncio.Future[dict[str, Any]] | None = None
        self._restoring: set[asyncio.Future[list[dict[str, Any]]]] = set()

    async def start(self) -> None:
        """Listen. Raises ControlSocketError."""
        listener = control_socket.listen(self._path, self._mode)
        self._inode = control_socket.inode_of(self._path)
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=_CLOSING_S,
            max_line_size=_LINE_LIMIT_BYTES,
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Remove the socket, tell clients that wait, and finish the requests that run. Harmless when not started."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        control_socket.remove(self._path, self._inode)
        for waiting in self._waits:
            waiting.cancel()
        await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._errors], client_max_size=_BODY_LIMIT_BYTES)
        application.router.add_get("/v1/status", self._status)
        application.router.add_get("/v1/workers", self._workers)
        application.router.add_get("/v1/why", self._why)
        application.router.add_post("/v1/wait", self._wait)
        application.router.add_get("/v1/qshape", self._qshape)
        application.router.add_get("/v1/jobs", self._jobs)
        application.router.add_get("/v1/scale", self._scale_range)
        application.router.add_post("/v1/scale", self._scale)
        application.router.add_post("/v1/pause", self._pause)
        application.router.add_post("/v1/resume", self._resume)
        application.router.add_post("/v1/retry", self._retry)
        application.router.add_post("/v1/restore", self._restore)
        application.router.add_post("/v1/reload", self._reload)
        return application

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        return _answer(self._backend.status())

    async def _workers(self, _request: web.Request) -> web.StreamResponse:
        return _answer({"workers": self._backend.workers()})

    async def _why(self, request: web.Request) -> web.StreamResponse:
        for pair in request.rel_url.raw_query_string.split("&"):
            name, _, value = pair.partition("=")
            if name == "path" and value:
                return _answer(await self._backend.why(arguments.path(value)))
        raise ControlError("path is missing", "GET /v1/why?path=%2Fsrv%2Fphotos%2Fa.jpg")

    async def _wait(self, request: web.Request) -> web.StreamResponse:
        paths, timeout_s = arguments.wait(await request.read())
        waiting = asyncio.ensure_future(self._backend.wait(paths, timeout_s))
        self._waits.add(waiting)
        try:
            return _answer({"files": await waiting})
        except asyncio.CancelledError:
            if self._runner is None:  # by stop(), not by the client
                raise Stopping from None
            raise
        finally:
            self._waits.discard(waiting)

    async def _qshape(self, _request: web.Request) -> web.StreamResponse:
        return _answer(self._backend.qshape())

    async def _jobs(self, request: web.Request) -> web.StreamResponse:
        return _answer(await self._backend.jobs(*arguments.jobs(request.query)))

    async def _scale_range(self, _request: web.Request) -> web.StreamResponse:
        return _answer(self._backend.scale_range())

    async def _scale(self, request: web.Request) -> web.StreamResponse:
        wanted = arguments.scale(await request.read())
        return _answer(await (self._backend.scale_auto() if wanted is None else self._backend.scale(*wanted)))

    async def _pause(self, _request: web.Request) -> web.StreamResponse:
        return _answer(await self._backend.pause())

    async def _resume(self, _request: web.Request) -> web.StreamResponse:
        return _answer(await self._backend.resume())

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        return _answer(await self._backend.retry(arguments.retry(await request.read())))

    async def _restore(self, request: web.Request) -> web.StreamResponse:
        # A client that leaves cancels its request; what it asked for is done all the same.
        restoring = asyncio.ensure_future(self._backend.restore(*arguments.restore(await request.read())))
        self._restoring.add(restoring)
        restoring.add_done_callback(self._restoring.discard)
        return _answer({"files": await asyncio.shield(restoring)})

    async def _reload(self, _request: web.Request) -> web.StreamResponse:
        # A client that leaves cancels its request, but must not leave a configuration half swapped.
        self._reloading = asyncio.ensure_future(self._backend.reload())
        return _answer(await asyncio.shield(self._reloading))

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ControlError as error:
            return _error(error.status, error.reason, error.message, error.mend, error.path)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _error(error.status, error.reason.lower().replace(" ", "-"), error.text or error.reason, "")
        except Exception as error:  # a fault of ours: this client is told, the operator too, and the daemon lives
            if self._on_error is not None:
                self._on_error(traceback.format_exc())
            return _error(500, "internal", f"{type(error).__name__}: {error}", "see the daemon's log; please report it")


def _answer(content: dict[str, Any], status: int = 200) -> web.Response:
    # ensure_ascii keeps the lone surrogates of non-UTF-8 paths, which no UTF-8 encoder takes
    text = json.dumps(content, default=_plain)
    return web.Response(text=text + "\n", content_type="application/json", status=status)


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return os.fsdecode(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _error(status: int, reason: str, message: str, mend: str, path: bytes | None = None) -> web.Response:
    error = {"reason": reason, "message": message, "mend": mend}
    if path is not None:
        error["path"] = quote_from_bytes(path)
    return _answer({"error": error}, status)
