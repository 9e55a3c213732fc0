"""The control interface: HTTP with JSON on a unix socket, so that `curl --unix-socket` works as well as imgoptctl.

| route | body | answer |
|---|---|---|
| GET /v1/status | | the object that `imgoptctl status --json` shows |
| GET /v1/workers | | {"workers": [...]} |
| GET /v1/why?path=P | | the life of one file |
| POST /v1/wait | {"paths": [P, ...], "timeout_s": 5} | {"files": [...]} once each is finished, or at the timeout |
| GET /v1/qshape | | {"ages_s": [...], "folders": [...]}: what waits, by folder and age |
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
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from aiohttp import web

from imgoptd.adapters import control_socket

_BODY_LIMIT_BYTES = 4 << 20
_LINE_LIMIT_BYTES = 16384
"""A path of PATH_MAX (4096) bytes, percent-encoded, and the rest of a request line."""
_ODD_STEPS = frozenset({b"", b".", b".."})
_CLOSING_S = 1.0
"""How long requests may still run when the daemon stops."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlError(Exception):
    """A request that cannot be answered; the client is told why and what to do."""

    status = 400
    reason = "bad-request"

    def __init__(self, message: str, mend: str = "", path: bytes | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.path = path


class NotWatched(ControlError):
    """The path lies in no watched folder, or is not taken from it."""

    status = 404
    reason = "not-watched"

    def __init__(self, path: bytes) -> None:
        super().__init__("the path lies in no watched folder", "watch its folder ([[watch]] in the config)", path)


class NotSeen(ControlError):
    """The path lies in a watched folder, but nothing is known of such a file."""

    status = 404
    reason = "not-seen"

    def __init__(self, path: bytes) -> None:
        super().__init__(
            "imgoptd has not seen this file",
            'check the name; what stood there when its folder was first watched is left alone (existing = "ignore")',
            path,
        )


class Stopping(ControlError):
    """The daemon ends before the answer is known."""

    status = 503
    reason = "stopping"

    def __init__(self) -> None:
        super().__init__("imgoptd is stopping", "ask again when it has started; nothing that was queued is lost")


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
                return _answer(await self._backend.why(_path(value)))
        raise ControlError("path is missing", "GET /v1/why?path=%2Fsrv%2Fphotos%2Fa.jpg")

    async def _wait(self, request: web.Request) -> web.StreamResponse:
        paths, timeout_s = _wait_arguments(await request.read())
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

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        return _answer(await self._backend.retry(_retry_arguments(await request.read())))

    async def _restore(self, request: web.Request) -> web.StreamResponse:
        # A client that leaves cancels its request; what it asked for is done all the same.
        restoring = asyncio.ensure_future(self._backend.restore(*_restore_arguments(await request.read())))
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


def _wait_arguments(body: bytes) -> tuple[list[bytes], float | None]:
    mend = 'POST {"paths": ["%2Fsrv%2Fa.jpg"], "timeout_s": 5}'
    arguments = _object(body, mend)
    return _some_paths(arguments, mend), _seconds(arguments, "timeout_s", mend)


def _retry_arguments(body: bytes) -> list[bytes] | None:
    mend = 'POST {"paths": ["%2Fsrv%2Fa.jpg"]} or {"failed": true}'
    arguments = _object(body, mend)
    return None if arguments.get("failed") is True else _some_paths(arguments, mend)


def _restore_arguments(body: bytes) -> tuple[list[bytes], float | None, list[bytes], bool]:
    mend = 'POST {"paths": ["%2Fsrv%2Fa.jpg"]} or {"since_s": 7200}'
    arguments = _object(body, mend)
    paths, since_s = _paths(arguments, "paths", mend), _seconds(arguments, "since_s", mend)
    if not paths and since_s is None:
        raise ControlError("neither paths nor since_s says what to restore", mend)
    force = arguments.get("force", False)
    if not isinstance(force, bool):
        raise ControlError("force is neither true nor false", mend)
    return paths, since_s, _paths(arguments, "folders", mend), force


def _object(body: bytes, mend: str) -> dict[str, Any]:
    try:
        arguments = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"the body is no JSON: {error}", mend) from error
    if not isinstance(arguments, dict):
        raise ControlError("the body is no JSON object", mend)
    return arguments


def _some_paths(arguments: dict[str, Any], mend: str) -> list[bytes]:
    paths = _paths(arguments, "paths", mend)
    if not paths:
        raise ControlError("paths is no list of percent-encoded paths", mend)
    return paths


def _paths(arguments: dict[str, Any], key: str, mend: str) -> list[bytes]:
    paths = arguments.get(key, [])
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise ControlError(f"{key} is no list of percent-encoded paths", mend)
    return [_path(path) for path in paths]


def _seconds(arguments: dict[str, Any], key: str, mend: str) -> float | None:
    value = arguments.get(key)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max:
        return float(value)
    raise ControlError(f"{key} is no number of seconds", mend)


def _path(encoded: str) -> bytes:
    mend = "percent-encode the bytes of an absolute path"
    try:
        path = unquote_to_bytes(encoded)
    except UnicodeEncodeError as error:
        raise ControlError("a path has characters that are none", mend) from error
    if not path.startswith(b"/") or b"\0" in path:
        raise ControlError(f"{encoded} is no absolute path", mend)
    # One file, one name: a second spelling would be a second file with a life of its own.
    if not _ODD_STEPS.isdisjoint(path.rstrip(b"/").split(b"/")[1:]):
        raise ControlError(f"{encoded} has an empty step, . or ..", "write the path without them")
    return path


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
