"""Opening a file for a probe or a job, and a place for the result beside it."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from imgoptd.adapters.beneath import Folder, pin_at, reopen_for_reading, split
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.replace.attributes import can_keep_owner
from imgoptd.adapters.replace.failures import Refused, changed, failure_elsewhere, failure_of
from imgoptd.adapters.room import want_of_room
from imgoptd.core.model import Failure, FailureKind, Identity

_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS})
"""open(2): a filesystem without O_TMPFILE says EOPNOTSUPP, a kernel or layer that ignores the flag EISDIR or ENOENT."""


@dataclass(slots=True)
class OpenJob:
    """The descriptors of a job between its start and its exchange; close it whatever comes. One thread at a time."""

    parent_fd: int
    """O_PATH, of the folder that holds the file."""
    name: bytes
    """Of the file in that folder."""
    input_fd: int
    """Read-only, of the original; may be handed to a worker."""
    output_fd: int
    """Of the result, which has no name yet; read-write until `prepare`, then read-only."""
    identity: Identity
    original: os.stat_result
    """Taken when the input was opened, before anything was read."""
    linkable: bool
    """The output can be given a name in the file's folder; otherwise it must be copied there."""
    sha256: str = ""
    """Of the original, where it was read whole."""
    finished: os.stat_result | None = None
    """Of the result, once it has the original's attributes and is on disk."""
    undo_fd: int = -1
    """Of the folder in which the original is kept once it is displaced; -1: it is not kept."""

    @property
    def displaces(self) -> Identity:
        """What the exchange will take away; inode 0 for nothing."""
        return self.identity

    def adopt_output(self, fd: int) -> None:
        """Take `fd` as the output in place of the present one, which is closed. Raises OSError, having taken it."""
        present, self.output_fd = self.output_fd, fd
        os.close(present)

    def close(self) -> None:
        """Close all descriptors; an output without a name ceases to exist. Closing twice is harmless."""
        fds = (self.parent_fd, self.input_fd, self.output_fd, self.undo_fd)
        self.parent_fd = self.input_fd = self.output_fd = self.undo_fd = -1
        close_all(fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


J = TypeVar("J", bound=OpenJob)


def close_all(fds: Iterable[int]) -> None:
    """Close those that are open (not negative).

    close(2) lets go of the descriptor whatever it reports. Where NFS or FUSE could not store what was written, that is
    of no account here: a result that counts was put on disk before. Raises OSError EBADF alone, a fault of ours.
    """
    for fd in fds:
        try:
            if fd >= 0:
                os.close(fd)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise


def open_input(folder: Folder, path: bytes, identity: Identity) -> int:
    """A read-only descriptor of the file at `path`, if it is still what `identity` says; the caller owns it.

    Raises Refused: CHANGED `vanished`, `changed` or `busy`; TRANSIENT `unreadable` and the like.
    """
    try:
        pin = folder.pin(path)
    except OSError as error:
        raise _unreadable(error) from error
    try:
        return _open_pinned(pin, identity)
    finally:
        os.close(pin)


def open_job(folder: Folder, path: bytes, identity: Identity, spool_dir: bytes) -> OpenJob:
    """Open the input as `open_input` does, and an empty output without a name, mode 0600, in the file's own folder.

    Where the folder's filesystem has no O_TMPFILE, the output lies nameless in `spool_dir` and is copied later. Raises
    Refused: as `open_input`; REJECTED `owner-not-kept`; TRANSIENT `no-space`, `read-only-filesystem`,
    `folder-not-writable`.
    """
    job = open_original(OpenJob, folder, path, identity)
    try:
        job.output_fd, job.linkable = open_output(
            job.parent_fd, spool_dir, identity.size, "no file can be made beside it"
        )
    except BaseException:
        job.close()
        raise
    return job


def open_original(kind: type[J], folder: Folder, path: bytes, identity: Identity) -> J:
    """Open the input alone: a job without an output yet. Raises Refused as `open_input`, and `owner-not-kept`."""
    parent_fd = input_fd = -1
    try:
        name = split(path)[1]
        parent_fd = folder.open_parent(path)
        pin = pin_at(parent_fd, name)
        try:
            input_fd = _open_pinned(pin, identity)
        finally:
            os.close(pin)
        original = os.fstat(input_fd)
        if identity_of(original) != identity:
            raise Refused(changed("changed", "the file changed while it was opened"))
        if not can_keep_owner(original):
            raise Refused(_owner_not_kept(original))
        return kind(parent_fd, name, input_fd, -1, identity, original, linkable=False)
    except BaseException as error:
        for fd in (parent_fd, input_fd):
            if fd >= 0:
                os.close(fd)
        if isinstance(error, OSError):
            raise _unreadable(error) from error
        raise


def _open_pinned(pin: int, identity: Identity) -> int:
    """Open the pinned file for reading; raises Refused unless it is a regular one of that identity."""
    try:
        status = os.fstat(pin)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(changed("changed", "something else than a regular file stands there now"))
        if identity_of(status) != identity:
            raise Refused(changed("changed", "the file changed since it was looked at"))
        return reopen_for_reading(pin)
    except BlockingIOError as error:
        raise Refused(changed("busy", "another program holds the file for writing")) from error
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> Refused:
    return Refused(failure_of(error, "the file cannot be opened for reading", "unreadable", "unreadable"))


def open_output(parent_fd: int, spool_dir: bytes, need_bytes: int, doing: str) -> tuple[int, bool]:
    """An empty file without a name, and whether it can be given one in the folder. Raises Refused as `open_job`.

    `need_bytes` must find room beside the floor. `doing` begins the sentence of a failure.
    """
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        _check_room(parent_fd, need_bytes)
        return os.open(b".", flags, 0o600, dir_fd=parent_fd), True
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise Refused(failure_of(error, doing, "folder-not-writable")) from error
    try:
        return _open_spool(spool_dir), False
    except OSError as error:
        raise Refused(failure_elsewhere(error, "no room for the result", "no-spool")) from error


def _open_spool(spool_dir: bytes) -> int:
    """A nameless file in the spool folder, also where that has no O_TMPFILE either. Raises OSError."""
    try:
        return os.open(spool_dir, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    name = spool_dir + b"/" + secrets.token_hex(8).encode()
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.unlink(name)
    return fd


def _check_room(parent_fd: int, need_bytes: int) -> None:
    """Raise Refused `no-space` unless the floor stays free beside a result as large as the original. Raises OSError."""
    failure = want_of_room(os.fstatvfs(parent_fd), need_bytes)
    if failure is not None:
        raise Refused(failure)


def _owner_not_kept(original: os.stat_result) -> Failure:
    return Failure(
        FailureKind.REJECTED,
        "owner-not-kept",
        f"the file belongs to user {original.st_uid}, group {original.st_gid}, and this process may not give a result "
        "to them; run the daemon as that user, as root, or with CAP_CHOWN and CAP_FOWNER",
    )
