"""How troubles of a replace are told: one exception that carries a Failure, and errno put into words."""

from __future__ import annotations

import errno

from imgoptd.adapters.troubles import NO_DESCRIPTORS, NO_MEMORY, reason_of
from imgoptd.core.model import UNFINISHED, Failure, FailureKind

__all__ = [
    "NO_UNDO",
    "UNFINISHED",
    "Refused",
    "ReplaceError",
    "changed",
    "failure_elsewhere",
    "failure_of",
    "shown",
    "transient",
    "vanished",
]

NO_UNDO = "no-undo"
"""There is no place, or no room in it, for an original that is to be kept."""

_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})


class Refused(Exception):
    """A step was not taken, and the path holds what it held. `failure` says why, as data."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class ReplaceError(Refused):
    """Prepare or exchange did not happen. The path holds what it held or something newer; see also UNFINISHED."""


def changed(reason: str, detail: str) -> Failure:
    return Failure(FailureKind.CHANGED, reason, detail)


def transient(reason: str, detail: str) -> Failure:
    return Failure(FailureKind.TRANSIENT, reason, detail)


def vanished() -> Failure:
    return changed("vanished", "the file is no longer there")


def failure_of(error: OSError, doing: str, denied: str, otherwise: str = "io-error") -> Failure:
    """The failure that a system call's error means. `doing` begins the sentence; `denied` is the reason for EACCES and
    EPERM, `otherwise` for what has no reason of its own.
    """
    said = error.strerror or f"error {error.errno}"
    if error.errno in _VANISHED:
        return vanished()
    if error.errno == errno.EXDEV:
        return changed("vanished", "the path leads out of the watched folder now")
    reason = reason_of(error)
    if reason is not None:
        return transient(reason, f"{doing}: {said}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return transient(denied, f"{doing}: {said}")
    return transient(otherwise, f"{doing}: {said}")


def failure_elsewhere(error: OSError, doing: str, reason: str) -> Failure:
    """The failure that a system call's error in the state folder means: it says nothing of the file or its disk.

    Only a want of the daemon's own, which would meet every file, keeps its own reason.
    """
    own = reason_of(error)
    said = error.strerror or f"error {error.errno}"
    return transient(own if own in (NO_DESCRIPTORS, NO_MEMORY) else reason, f"{doing}: {said}")


def shown(name: bytes) -> str:
    """A file name for a person: UTF-8 where it is, everything unprintable escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
