"""From a worker's output to a result that may take the original's place."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from imgoptd.adapters import failpoints
from imgoptd.adapters.beneath import Folder, reopen_for_reading
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import identity_of, leased_stat
from imgoptd.adapters.replace.attributes import copy_attributes
from imgoptd.adapters.replace.failures import (
    NO_UNDO,
    ReplaceError,
    changed,
    failure_elsewhere,
    failure_of,
    transient,
    vanished,
)
from imgoptd.adapters.replace.names import new_temp_name
from imgoptd.adapters.replace.opening import OpenJob
from imgoptd.adapters.replace.places import find_place, open_state_place
from imgoptd.adapters.room import want_of_room
from imgoptd.core.model import Failure, FailureKind, Identity, KeptAt, Lease


@dataclass(frozen=True, slots=True)
class PreparedResult:
    """What the durable intent needs to know."""

    temp_name: bytes
    result: Identity | None
    """None where the result must still be copied into the file's folder: see `exchange`."""
    sha256: str


def check_unchanged(job: OpenJob) -> None:
    """Raise ReplaceError CHANGED unless the original is, to the last status change, as it was when it was opened.

    Nothing of ours changes its ctime before the exchange, so an equal ctime also tells that nobody changed mode, owner
    or attributes since, or wrote and then set the old mtime again.
    """
    now = os.fstat(job.input_fd)
    if now.st_nlink == 0:
        raise ReplaceError(vanished())
    if identity_of(now) != job.identity or now.st_ctime_ns != job.original.st_ctime_ns:
        raise ReplaceError(changed("changed", "the file or its attributes changed while it was worked on"))


def prepare(job: OpenJob, size_bytes: int) -> PreparedResult:
    """Check the result's size, hash it, give it the original's attributes and put it on disk.

    `size_bytes` is what the worker says it wrote. No name is touched. Raises ReplaceError: CHANGED; UNVERIFIED
    `still-written`, `result-size`, `not-smaller`; TRANSIENT `metadata-not-kept`, `no-space`, `read-only-filesystem`,
    `io-error`.
    """
    check_unchanged(job)
    return seal(job, lambda size: _check_size(size, size_bytes, job.identity.size))


def seal(job: OpenJob, check_size: Callable[[int], None]) -> PreparedResult:
    """As `prepare`, for a result whose size `check_size` judges (it raises ReplaceError)."""
    try:
        # Our own writing descriptor would make us a writer in the eyes of every later lease.
        job.adopt_output(reopen_for_reading(job.output_fd))
        check_size(check_no_writer(job).st_size)
        sha256 = sha256_of(job.output_fd)
        result = finish_result(job, job.output_fd) if job.linkable else None
    except OSError as error:
        raise ReplaceError(failure_of(error, "the result could not be written", "io-error")) from error
    failpoints.hit("replace.after_prepare")
    return PreparedResult(new_temp_name(), result, sha256)


def prepare_keeping(job: OpenJob, folder: Folder, path: bytes, state_dir: bytes) -> KeptAt:
    """Find the place for the original, which holds the content `job.sha256`. Raises ReplaceError: `no-undo` and
    as `prepare` does.
    """
    try:
        found = find_place(folder, path, job.parent_fd)
        place, job.undo_fd = found if found is not None else (None, open_state_place(state_dir, make=True))
        # A copy takes room from the filesystem that the store must be able to write to; a rename takes none.
        want = None if place is not None else want_of_room(os.fstatvfs(job.undo_fd), job.identity.size)
    except OSError as error:
        raise ReplaceError(failure_elsewhere(error, "there is no place to keep the original", NO_UNDO)) from error
    if want is not None:
        detail = f"the original cannot be kept in state_dir: {want.detail}; make room there"
        raise ReplaceError(transient(NO_UNDO, detail))
    return KeptAt(place, f"{job.sha256}-{secrets.token_hex(4)}".encode())


def _check_size(size: int, reported: int, original: int) -> None:
    if size != reported:
        said = f"the worker reported {reported} bytes, the result has {size}"
        raise ReplaceError(Failure(FailureKind.UNVERIFIED, "result-size", said))
    if not 0 < size < original:
        said = f"the result has {size} bytes, the original {original}"
        raise ReplaceError(Failure(FailureKind.UNVERIFIED, "not-smaller", said))


def check_no_writer(job: OpenJob) -> os.stat_result:
    """The result's status. Raise ReplaceError UNVERIFIED `still-written` while anybody can write to it; and OSError.

    A worker that its file has taken over may keep its descriptor, or a writable mapping, and change what was verified.
    An honest one closes before it answers, and the kernel counts a writer out before close(2) returns. Once no writer
    is left there can be no new one: the result has no name yet. Where the filesystem has no leases this tells nothing.
    """
    lease, status = leased_stat(job.output_fd)
    if lease is Lease.BUSY:
        said = "the worker still had its result open for writing after it said that it was done"
        raise ReplaceError(Failure(FailureKind.UNVERIFIED, "still-written", said))
    return status


def finish_result(job: OpenJob, fd: int) -> Identity:
    """Give the result behind `fd` the original's attributes, put it on disk, return what it is then.

    Raises ReplaceError (see `copy_attributes`) and OSError.
    """
    copy_attributes(job.input_fd, fd, job.original)
    os.fsync(fd)
    job.finished = os.fstat(fd)
    return identity_of(job.finished)


def check_finished(job: OpenJob) -> None:
    """Raise ReplaceError UNVERIFIED unless the result is, to the last status change, as `finish_result` left it.

    To be called before it is given a name, which changes its ctime. Raises OSError.
    """
    now, then = check_no_writer(job), job.finished
    if then is None or identity_of(now) != identity_of(then) or now.st_ctime_ns != then.st_ctime_ns:
        raise ReplaceError(result_changed())


def result_changed() -> Failure:
    return Failure(FailureKind.UNVERIFIED, "result-changed", "the result changed since it was verified")
