"""What requests to the control interface ask for, read strictly. Each raises ControlError, with an example."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from imgoptd.adapters.control_errors import ControlError
from imgoptd.core.model import JobState

JOBS_SHOWN = 100
JOBS_MOST = 10_000
"""More rows in one answer would keep the daemon from its work."""
WORKERS_MOST = 1024
"""As in the configuration."""
_ODD_STEPS = frozenset({b"", b".", b".."})


def jobs(query: Mapping[str, str]) -> tuple[str | None, int]:
    """The state wanted, None for all, and how many rows at most."""
    mend = "GET /v1/jobs?state=queued&limit=100"
    if odd := sorted(query.keys() - {"state", "limit"}):
        raise ControlError(f"{odd[0]} is none of state and limit", mend)
    state, limit = query.get("state"), query.get("limit", str(JOBS_SHOWN))
    if state is not None and state not in set(JobState):
        raise ControlError(f"{state!r} is no state of a job", f"name one of {', '.join(JobState)}")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and 1 <= int(limit) <= JOBS_MOST):
        raise ControlError(f"limit {limit!r} is no number from 1 to {JOBS_MOST}", mend)
    return state, int(limit)


def scale(body: bytes) -> tuple[int | None, int | None] | None:
    """Least and most workers wanted, None for one that is to stay; None alone: as configured."""
    mend = 'POST {"min": 1, "max": 4}, either of them, or {"auto": true}'
    wanted = _object(body, mend)
    if odd := sorted(wanted.keys() - {"min", "max", "auto"}):
        raise ControlError(f"{odd[0]} is none of min, max and auto", mend)
    least, most = _workers(wanted, "min", mend), _workers(wanted, "max", mend)
    auto = wanted.get("auto", False)
    if not isinstance(auto, bool):
        raise ControlError("auto is neither true nor false", mend)
    if auto == (least is not None or most is not None):
        raise ControlError("auto goes without min and max" if auto else "neither min, max nor auto is given", mend)
    return None if auto else (least, most)


def _workers(wanted: dict[str, Any], key: str, mend: str) -> int | None:
    value = wanted.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= WORKERS_MOST):
        return value
    raise ControlError(f"{key} is no number of workers from 0 to {WORKERS_MOST}", mend)


def wait(body: bytes) -> tuple[list[bytes], float | None]:
    """The files, and for how long (seconds); None is without end."""
    mend = 'POST {"paths": ["%2Fsrv%2Fa.jpg"], "timeout_s": 5}'
    arguments = _object(body, mend)
    return _some_paths(arguments, mend), _seconds(arguments, "timeout_s", mend)


def retry(body: bytes) -> list[bytes] | None:
    """The files; None: all that failed."""
    mend = 'POST {"paths": ["%2Fsrv%2Fa.jpg"]} or {"failed": true}'
    arguments = _object(body, mend)
    return None if arguments.get("failed") is True else _some_paths(arguments, mend)


def restore(body: bytes) -> tuple[list[bytes], float | None, list[bytes], bool]:
    """The files, since how long (seconds), below which folders, and whether by force."""
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
    return [path(one) for one in paths]


def _seconds(arguments: dict[str, Any], key: str, mend: str) -> float | None:
    value = arguments.get(key)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max:
        return float(value)
    raise ControlError(f"{key} is no number of seconds", mend)


def path(encoded: str) -> bytes:
    """The bytes of an absolute path in the one spelling it has."""
    mend = "percent-encode the bytes of an absolute path"
    try:
        decoded = unquote_to_bytes(encoded)
    except UnicodeEncodeError as error:
        raise ControlError("a path has characters that are none", mend) from error
    if not decoded.startswith(b"/") or b"\0" in decoded:
        raise ControlError(f"{encoded} is no absolute path", mend)
    # One file, one name: a second spelling would be a second file with a life of its own.
    if not _ODD_STEPS.isdisjoint(decoded.rstrip(b"/").split(b"/")[1:]):
        raise ControlError(f"{encoded} has an empty step, . or ..", "write the path without them")
    return decoded
