"""Programs run as another user, wherever this checkout lies.

The folders above it may be closed to other users, as /root is, and many a folder of a build service. A process that was
put into the checkout before it became another user still gets at all of it: `/proc/self/cwd` leads there without
passing what lies above. Where the checkout itself is closed, or the interpreter lies elsewhere behind a closed folder,
nothing can be run, and the test is skipped with that reason.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NOBODY = 65534
CHECKOUT = Path(__file__).resolve().parents[1]
HERE = Path("/proc/self/cwd")

# Only the standard library, and no code of ours: an error of ours must fail a test, never skip it.
_MAY_ALL_BE_READ = """
import os, sys
def closed(error):
    raise error
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top, onerror=closed):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith((".py", ".so")) and not os.access(path, os.R_OK):
                raise PermissionError(13, "Permission denied", path)
"""


def program(name: str) -> list[str]:
    """How another user runs a program of the environment, or `python` itself: the beginning of a command.

    By the interpreter: the first line of an installed program names it by a path from the root.
    """
    programs = _from_within(Path(sys.prefix)) / "bin"
    return [str(programs / "python"), *([] if name == "python" else [str(programs / name)])]


def rights(uid: int) -> dict[str, Any]:
    """Arguments for subprocess that make a command of `program` that user's (and group's). Needs root.

    Skips the test, with the reason, where another user cannot read this checkout.
    """
    reason = _why_not(uid)
    if reason:
        import pytest  # here, because programs that the tests run import this module as well

        pytest.skip(reason)
    return _rights(uid)


def run_as(
    uid: int, code: str, *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code as that user in a process of its own, `tests` and `imgoptd` at hand. Skips as `rights` does."""
    given = rights(uid)
    given["env"] |= env or {}
    command = [*program("python"), "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **given)


def _from_within(path: Path) -> Path:
    return HERE / path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path


def _rights(uid: int) -> dict[str, Any]:
    env = {**os.environ, "PYTHONPATH": str(HERE)}
    return {"user": uid, "group": uid, "extra_groups": [], "cwd": CHECKOUT, "env": env}


@functools.cache
def _why_not(uid: int) -> str:
    """The reason why that user can run nothing of this checkout, or an empty string."""
    tops = [HERE / "imgoptd", HERE / "tests", _from_within(Path(sys.prefix)) / "lib"]
    command = [*program("python"), "-c", _MAY_ALL_BE_READ, *map(str, tops)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **_rights(uid))
    except OSError as error:
        said = str(error)
    else:
        if done.returncode == 0:
            return ""
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    said = said.replace(str(HERE), str(CHECKOUT))
    return f"the checkout or its interpreter lies where other users may not go: {said}"
