"""From a path as the user typed it to the paths under which the daemon may know the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from imgoptd.cli.client import ControlFailure

T = TypeVar("T")


def candidates(path: bytes) -> list[bytes]:
    """Absolute paths that may name the file in the daemon's terms, the likeliest first.

    A watched folder is known by the path in the config, with whatever symlinks that holds. The user may stand in the
    folder through another link, so three forms are tried: as the shell shows the folder ($PWD), as the kernel does, and
    with all symlinks above the file resolved. The file's own name is never resolved: the daemon looks at links, not
    through them.
    """
    path = path.rstrip(b"/") or b"/"
    physical = os.path.join(os.getcwdb(), path)
    folder, name = os.path.split(physical)
    if name in (b".", b"..", b""):
        resolved = os.path.realpath(physical)
    else:
        resolved = _one_slash(os.path.join(os.path.realpath(folder), name))
    forms = [_one_slash(os.path.normpath(os.path.join(start, path))) for start in (_shell_folder(), os.getcwdb())]
    # `link/../x` without its dots is another file where link is a symlink: such a form must not be asked about
    return list(dict.fromkeys([*(form for form in forms if _same_folder(form, resolved)), resolved]))


def ask_for_each(ask: Callable[[list[bytes]], T], paths: list[bytes]) -> T:
    """Call `ask` with one form of each path, and with the next form of one that the daemon does not know so.

    Raises the ControlFailure of the form that came nearest: watched but not seen, or else the first.
    """
    forms = [candidates(path) for path in paths]
    failures: list[list[ControlFailure]] = [[] for _ in paths]
    while True:
        chosen = [options[0] for options in forms]
        try:
            return ask(chosen)
        except ControlFailure as failure:
            if failure.reason not in ("not-watched", "not-seen") or failure.path not in chosen:
                raise
            number = chosen.index(failure.path)
            failures[number].append(failure)
            if len(forms[number]) == 1:
                raise next((one for one in failures[number] if one.reason == "not-seen"), failures[number][0]) from None
            forms[number].pop(0)


def _same_folder(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samefile(os.path.dirname(one), os.path.dirname(other))
    except OSError:  # no such folder: then there is nothing to confuse it with
        return os.path.normpath(one) == os.path.normpath(other)


def _shell_folder() -> bytes:
    folder = os.environb.get(b"PWD", b"")
    try:
        if os.path.isabs(folder) and os.path.samefile(folder, b"."):
            return folder
    except OSError:
        pass  # stale $PWD
    return os.getcwdb()


def _one_slash(path: bytes) -> bytes:
    return path[1:] if path.startswith(b"//") else path  # normpath keeps two leading slashes, as POSIX allows
