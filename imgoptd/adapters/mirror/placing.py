"""A result takes its place in the output tree: where nothing stands, or where our own earlier output does."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from imgoptd.adapters import failpoints
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.mirror.opening import MirrorJob, taken
from imgoptd.adapters.replace.exchanging import (
    Materialised,
    Placed,
    check_before,
    drop_result,
    exchange,
    materialise,
    result_stands,
)
from imgoptd.adapters.replace.failures import UNFINISHED, ReplaceError, failure_of, transient
from imgoptd.adapters.replace.names import UNSUPPORTED, Names
from imgoptd.adapters.replace.opening import OpenJob
from imgoptd.adapters.replace.preparing import check_finished
from imgoptd.core.model import Identity, Intent

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def place(job: MirrorJob, intent: Intent) -> Placed | Materialised:
    """Put the prepared result into the output tree, if the original is still what was read. The intent is durable.

    Nothing that is not our own earlier output for the file is ever overwritten. Raises ReplaceError as
    `replace.exchange`, and REJECTED `output-taken`; the tree then holds what it held, or what somebody put there.
    """
    names = Names(job.target_fd, intent.temp_name, job.target_name)
    if intent.original != job.displaces:
        raise ValueError("the intent is of another output than the job")
    if intent.result is None:
        return Materialised(materialise(job, intent, names))
    try:
        check_before(job, Names(job.parent_fd, b"", job.name))
        check_finished(job)
        if job.standing is not None and sha256_of(job.standing_fd) != intent.original_sha256:
            raise ReplaceError(taken())
    except ReplaceError:
        drop_result(job, names)
        raise
    except OSError as error:
        drop_result(job, names)
        raise ReplaceError(failure_of(error, "the output tree could not be read", "not-permitted")) from error
    if job.standing is not None:
        return _displace(job, job.standing, intent)
    return _fill(job, intent.result, names)


def _displace(job: MirrorJob, standing: os.stat_result, intent: Intent) -> Placed | Materialised:
    """Exchange the result with the earlier output: the same compare-and-swap as in place, of other files."""
    swap = OpenJob(
        job.target_fd,
        job.target_name,
        job.standing_fd,
        job.output_fd,
        identity=job.displaces,
        original=standing,
        linkable=job.linkable,
        finished=job.finished,
    )  # borrows the descriptors, so it is never closed
    try:
        return exchange(swap, intent)
    except ReplaceError as error:
        failure = replace(error.failure, detail=f"of its earlier output: {error.failure.detail}")
        raise ReplaceError(failure) from error


def _fill(job: MirrorJob, result: Identity, names: Names) -> Placed:
    """Give the result its name, which nothing has."""
    try:
        if job.linkable:
            source = b"/proc/self/fd/%d" % job.output_fd
            os.link(source, names.name, dst_dir_fd=names.parent_fd, follow_symlinks=True)
            atomic = True
        else:
            atomic = _temp_into_gap(names)
    except OSError as error:
        if result_stands(job, names):
            detail = f"an error was told of a name that was given: {error.strerror or error.errno}"
            raise ReplaceError(transient(UNFINISHED, detail)) from error
        drop_result(job, names)
        if isinstance(error, FileExistsError):
            raise ReplaceError(taken()) from error
        doing = "the result could not be put into the output tree"
        raise ReplaceError(failure_of(error, doing, "not-permitted")) from error
    failpoints.hit("mirror.after_link")
    try:
        names.sync_folder()
    except OSError as error:
        said = error.strerror or f"error {error.errno}"
        raise ReplaceError(transient(UNFINISHED, f"the new name could not be put on disk: {said}")) from error
    return Placed(result, atomic)


def _temp_into_gap(names: Names) -> bool:
    """The copied result gets its name, if nothing has it; False where that could only be checked, not promised.

    Raises OSError: FileExistsError where something has the name.
    """
    try:
        names.temp_into_gap()
        return True
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    try:
        os.link(names.temp, names.name, src_dir_fd=names.parent_fd, dst_dir_fd=names.parent_fd)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        names.remove_temp()
        return True
    pin = names.pin_name()
    if pin is not None:
        os.close(pin)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), names.name)
    names.temp_over_name()
    return False
