"""Talking to a running daemon: HTTP over its unix socket, by the standard library alone (aiohttp loads for 0.3 s)."""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from imgoptd.core.text import show_path

DEFAULT_SOCKET = "/run/imgoptd/control.sock"
_ANSWER_S = 30.0
"""A daemon that takes longer to answer is stuck."""
_SUN_PATH_BYTES = 107


class ControlFailure(Exception):
    """The daemon cannot be asked, or refuses; one line with what to do."""

    def __init__(self, message: str, mend: str = "", reason: str = "", path: bytes | None = None) -> None:
        super().__init__(f"{message}; {mend}" if mend else message)
        self.reason = reason
        self.path = path


class Client:
    """Asks the daemon behind one control socket."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path

    def status(self) -> dict[str, Any]:
        return self._ask("GET", "/v1/status")

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", "/v1/workers")["workers"]
        return found

    def why(self, path: bytes) -> dict[str, Any]:
        return self._ask("GET", f"/v1/why?path={quote_from_bytes(path, safe='')}")

    def wait(self, paths: list[bytes], timeout_s: float | None) -> list[dict[str, Any]]:
        """State of each once all are finished or the time is over; without a timeout it may take for ever."""
        body = {"paths": [quote_from_bytes(path) for path in paths], "timeout_s": timeout_s}
        answer_s = None if timeout_s is None else timeout_s + _ANSWER_S
        files: list[dict[str, Any]] = self._ask("POST", "/v1/wait", body, answer_s)["files"]
        return files

    def qshape(self) -> dict[str, Any]:
        return self._ask("GET", "/v1/qshape")

    def jobs(self, state: str | None, limit: int) -> dict[str, Any]:
        """The first jobs of the queue, of one state if given."""
        of_state = "" if state is None else f"&state={state}"
        return self._ask("GET", f"/v1/jobs?limit={limit}{of_state}")

    def scale_range(self) -> dict[str, Any]:
        return self._ask("GET", "/v1/scale")

    def scale(self, least: int | None, most: int | None) -> dict[str, Any]:
        """None leaves that end of the range as it is."""
        wanted = {name: value for name, value in (("min", least), ("max", most)) if value is not None}
        return self._ask("POST", "/v1/scale", wanted)

    def scale_auto(self) -> dict[str, Any]:
        return self._ask("POST", "/v1/scale", {"auto": True})

    def pause(self) -> dict[str, Any]:
        return self._ask("POST", "/v1/pause")

    def resume(self) -> dict[str, Any]:
        return self._ask("POST", "/v1/resume")

    def retry(self, paths: list[bytes] | None) -> dict[str, Any]:
        """None: all that are quarantined, deferred or held."""
        encoded = None if paths is None else [quote_from_bytes(path) for path in paths]
        return self._ask("POST", "/v1/retry", {"failed": True} if encoded is None else {"paths": encoded})

    def restore(
        self, paths: list[bytes], since_s: float | None, folders: list[bytes], force: bool
    ) -> list[dict[str, Any]]:
        """What became of each file; with many of them it may take long."""
        body = {
            "paths": [quote_from_bytes(path) for path in paths],
            "since_s": since_s,
            "folders": [quote_from_bytes(folder) for folder in folders],
            "force": force,
        }
        files: list[dict[str, Any]] = self._ask("POST", "/v1/restore", body, None)["files"]
        return files

    def reload(self) -> dict[str, Any]:
        return self._ask("POST", "/v1/reload")

    def _ask(self, method: str, route: str, body: object = None, answer_s: float | None = _ANSWER_S) -> dict[str, Any]:
        """The daemon's answer. Raises ControlFailure for everything that is none."""
        connection = _Connection(self._path, answer_s)
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, route, payload, {"Content-Type": "application/json"} if payload else {})
            response = connection.getresponse()
            content = json.loads(response.read())
        except OSError as error:
            raise self._unreachable(error) from error
        except (http.client.HTTPException, ValueError) as error:
            raise ControlFailure(
                f"what answers at {self._path} is not imgoptd, or it ended meanwhile", "look at its log"
            ) from error
        finally:
            connection.close()
        if response.status >= 400 or not isinstance(content, dict):
            raise _refusal(content)
        return content

    def _unreachable(self, error: OSError) -> ControlFailure:
        if isinstance(error, TimeoutError):
            return ControlFailure(f"imgoptd at {self._path} does not answer", "look at its log", "timeout")
        if isinstance(error, PermissionError):
            return ControlFailure(f"you may not talk to imgoptd at {self._path}", "use sudo", "forbidden")
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return ControlFailure(f"imgoptd at {self._path} ended before it answered", "look at its log", "ended")
        return ControlFailure(
            f"no imgoptd answers at {self._path}",
            "start it (systemctl start imgoptd, or imgoptd --config FILE), or name its socket with --socket",
            "unreachable",
        )


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        path = os.fsencode(self._path)
        if len(path) <= _SUN_PATH_BYTES:
            self.sock.connect(path)
            return
        folder, name = os.path.split(path)
        folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:  # a path too long for a sockaddr_un is reached through its folder
            self.sock.connect(b"/proc/self/fd/%d/%s" % (folder_fd, name))
        finally:
            os.close(folder_fd)


def _refusal(content: object) -> ControlFailure:
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return ControlFailure("the daemon's answer is not understood", "are imgoptd and imgoptctl of one version?")
    message, path = str(error.get("message", "refused")), error.get("path")
    named = None if path is None else unquote_to_bytes(str(path))
    if named is not None:
        message = f"{show_path(named)}: {message}"
    return ControlFailure(message, str(error.get("mend", "")), str(error.get("reason", "")), named)
