"""The compare-and-swap: the result takes the original's place only if that is still what was read."""

from __future__ import annotations

import os
from dataclasses import dataclass

from imgoptd.adapters import failpoints, fsinfo
from imgoptd.adapters.beneath import reopen_for_reading
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import identity_of, leased_stat
from imgoptd.adapters.replace.failures import (
    NO_UNDO,
    UNFINISHED,
    ReplaceError,
    changed,
    failure_elsewhere,
    failure_of,
    shown,
    transient,
    vanished,
)
from imgoptd.adapters.replace.keeping import copy_content, copy_into, keep_temp, remove_copy, remove_part
from imgoptd.adapters.replace.names import UNSUPPORTED, Names, same_file
from imgoptd.adapters.replace.opening import OpenJob
from imgoptd.adapters.replace.preparing import check_finished, check_unchanged, finish_result, result_changed
from imgoptd.adapters.replace.putback import put_back
from imgoptd.core.model import Failure, Identity, Intent, Lease


@dataclass(frozen=True, slots=True)
class Placed:
    """The result stands at the path, durably; the original is gone, or kept where the intent says."""

    result: Identity
    atomic: bool
    """False: the filesystem has no RENAME_EXCHANGE, so a change in the microseconds between check and rename would have
    gone unnoticed."""
    kept: Identity | None = None
    """Of the original where it is kept now."""


@dataclass(frozen=True, slots=True)
class Materialised:
    """The result now lies at the temp name; save an intent that says so, then call `exchange` with it."""

    result: Identity


def exchange(job: OpenJob, intent: Intent) -> Placed | Materialised:
    """Put the prepared result in the original's place. The intent is durable already.

    Raises ReplaceError. The path then holds what it held, or what somebody put there since: CHANGED `changed`, `busy`,
    `vanished`; UNVERIFIED `still-written`, `result-changed`; TRANSIENT `no-space`, `read-only-filesystem`,
    `not-permitted`, `io-error`. After TRANSIENT `unfinished` the temp is still there and the intent must be kept for
    `recover`.

    One window is open, as in every replacing of a file on Linux: a program whose open(2) for writing has already passed
    the name but not yet counted as a writer when we look writes to the original after it lost its name.
    """
    names = Names(job.parent_fd, intent.temp_name, job.name)
    if intent.original != job.identity:
        raise ValueError("the intent is of another content than the job")
    if intent.keep is not None and job.undo_fd < 0:
        raise ValueError("the intent keeps the original, and no place was prepared for it")
    if intent.result is None:
        return Materialised(materialise(job, intent, names))
    copy = None
    try:
        check_finished(job)
        check_before(job, names)
        if intent.keep is not None and intent.keep.place is None:
            copy = _copy_original(job, intent)  # before anything is displaced: it may take long, and find no room
        _link(job, names)
        failpoints.hit("replace.after_link")
        try:
            names.exchange()
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            if intent.keep is not None and copy is None:
                copy = _copy_original(job, intent)
            return _rename_over(job, intent.result, names, copy)
    except ReplaceError as error:
        if error.failure.reason != UNFINISHED:
            _give_up(job, intent, names)
        raise
    except OSError as error:
        _give_up(job, intent, names)
        raise ReplaceError(
            failure_of(error, "the result could not take the original's place", "not-permitted")
        ) from error
    failpoints.hit("replace.after_exchange")
    return _settle(job, intent, intent.result, names, copy)


def check_before(job: OpenJob, names: Names) -> None:
    """Raise ReplaceError CHANGED unless `names.name` still names the unchanged original and nobody writes to it."""
    check_unchanged(job)
    pin = names.pin_name()
    if pin is None:
        raise ReplaceError(vanished())
    try:
        if identity_of(os.fstat(pin)) != job.identity:
            raise ReplaceError(changed("changed", "another file took its place while it was worked on"))
    finally:
        os.close(pin)
    if leased_stat(job.input_fd)[0] is Lease.BUSY:
        raise ReplaceError(changed("busy", "another program has the file open for writing"))


def _link(job: OpenJob, names: Names) -> None:
    """Give the nameless output the temp's name; a copied one has it already. Raises OSError."""
    if job.linkable:
        source = b"/proc/self/fd/%d" % job.output_fd
        os.link(source, names.temp, dst_dir_fd=names.parent_fd, follow_symlinks=True)


def _settle(job: OpenJob, intent: Intent, result: Identity, names: Names, copy: Identity | None) -> Placed:
    """The names are exchanged: look at what came out, and let go of it, keep it, or put it back."""
    try:
        failure = _why_not_the_original(job, names)
        if failure is None:
            if not fsinfo.keeps_order(job.parent_fd):
                names.sync_folder()  # the original's name must not vanish from the disk before the result's is there
            done = _let_go_of_original(job, intent, names, copy)
            if not isinstance(done, Failure):
                names.sync_folder()
                return Placed(result, atomic=True, kept=done)
            failure = done
        kept = put_back(names, job.output_fd, result)
        names.sync_folder()
        if result_stands(job, names):
            # There was no temp to put back: somebody moved it, or our rename was done and an error told of it.
            raise ReplaceError(transient(UNFINISHED, f"{failure.detail}; the result stands at the path all the same"))
        _drop_copy(job, intent)
    except OSError as error:
        said = error.strerror or f"error {error.errno}"
        detail = f"names could not be put right after the exchange: {said}; nothing is lost, it is tried again later"
        raise ReplaceError(transient(UNFINISHED, detail)) from error
    if kept is not None:
        kept_too = f"{failure.detail}; two versions met, the other one is kept as {shown(kept)}"
        failure = Failure(failure.kind, failure.reason, kept_too)
    raise ReplaceError(failure)


def _why_not_the_original(job: OpenJob, names: Names) -> Failure | None:
    """None if the temp now names the original just as it was read, and nobody has it open for writing."""
    pin = names.pin_temp()
    if pin is None:
        # Somebody removed our temp in these microseconds. If it was the original, all that was left to do is done.
        return (
            None if os.fstat(job.input_fd).st_nlink == 0 else changed("changed", "another program renames files here")
        )
    try:
        if not os.path.samestat(os.fstat(pin), job.original):
            return changed("changed", "another file took its place in the last moment")
    finally:
        os.close(pin)
    lease, now = leased_stat(job.input_fd)  # the same inode, and this descriptor can hold a lease
    if lease is Lease.BUSY:
        return changed("busy", "another program has the file open for writing")
    before = job.original
    same_rights = (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    if identity_of(now) != job.identity or not same_rights:
        return changed("changed", "the file changed in the last moment")
    return None


def _let_go_of_original(job: OpenJob, intent: Intent, names: Names, copy: Identity | None) -> Identity | Failure | None:
    """Of the kept file, if it is one to be kept; or why it cannot be, so that it has to go back to the path.

    Raises OSError where the temp cannot be removed, and where it is gone though nobody knows whether it is kept.
    """
    if intent.keep is None or copy is not None:
        failpoints.hit("replace.before_unlink")
        try:
            names.remove_temp()
        except FileNotFoundError:
            pass  # somebody else removed it: gone is what it should be
        failpoints.hit("replace.after_unlink")
        return copy
    failpoints.hit("replace.before_keep")
    try:
        kept = keep_temp(names, job.input_fd, job.original, job.undo_fd, intent.keep.name)
    except ReplaceError as error:
        return error.failure
    except OSError as error:
        if not names.has_temp():
            raise  # it was moved, though perhaps not yet on disk, or somebody took it: nothing is there to be put back
        return failure_of(error, "the original could not be kept", NO_UNDO)
    failpoints.hit("replace.after_keep")
    return kept


def _copy_original(job: OpenJob, intent: Intent) -> Identity:
    """Copy the original to the place where it is kept. Raises OSError and ReplaceError; CHANGED if it changed since."""
    assert intent.keep is not None
    try:
        copy = copy_into(job.input_fd, job.original, job.undo_fd, intent.keep.name)
    except OSError as error:
        if intent.keep.place is not None:
            raise
        raise ReplaceError(failure_elsewhere(error, "the original could not be kept in state_dir", NO_UNDO)) from error
    check_unchanged(job)
    failpoints.hit("replace.after_copy")
    return copy


def _give_up(job: OpenJob, intent: Intent, names: Names) -> None:
    """Nothing was displaced. Raises ReplaceError UNFINISHED where what we made cannot be removed."""
    drop_result(job, names)
    try:
        _drop_copy(job, intent)
    except OSError as error:
        said = error.strerror or f"error {error.errno}"
        raise ReplaceError(transient(UNFINISHED, f"the copy of the original could not be removed: {said}")) from error


def _drop_copy(job: OpenJob, intent: Intent) -> None:
    """Our result does not stand at the path: a copy of the original that was made is needed no longer. Raises OSError.

    The original may be gone all the same: removed, or replaced by something newer, by somebody else.
    """
    if intent.keep is not None:
        remove_part(job.undo_fd, intent.keep.name)
        remove_copy(job.undo_fd, intent.keep.name, job.identity, intent.original_sha256)


def _rename_over(job: OpenJob, result: Identity, names: Names, copy: Identity | None) -> Placed:
    """Without RENAME_EXCHANGE: check once more, then rename. Raises OSError and ReplaceError.

    After the rename it is UNFINISHED.
    """
    check_before(job, names)
    try:
        names.temp_over_name()
    except OSError as error:
        if result_stands(job, names):  # done, and the answer was lost
            raise ReplaceError(transient(UNFINISHED, "an error was told of a rename that was done")) from error
        raise
    failpoints.hit("replace.after_rename")
    try:
        names.sync_folder()
    except OSError as error:
        said = error.strerror or f"error {error.errno}"
        raise ReplaceError(transient(UNFINISHED, f"the new name could not be put on disk: {said}")) from error
    return Placed(result, atomic=False, kept=copy)


def result_stands(job: OpenJob, names: Names) -> bool:
    """Does the file's own name stand for our result? Raises ReplaceError UNFINISHED where that cannot be told.

    A filesystem may do what it is asked and then report an error (a lost answer over a network).
    """
    try:
        pin = names.pin_name()
        if pin is None:
            return False
        try:
            return same_file(pin, job.output_fd)
        finally:
            os.close(pin)
    except OSError as error:
        said = error.strerror or f"error {error.errno}"
        raise ReplaceError(transient(UNFINISHED, f"what stands at the path cannot be told: {said}")) from error


def drop_result(job: OpenJob, names: Names) -> None:
    """Remove the temp, which before an exchange is our result or nothing. Raises ReplaceError UNFINISHED otherwise."""
    try:
        pin = names.pin_temp()
        if pin is None:
            return
        try:
            ours = os.path.samestat(os.fstat(pin), os.fstat(job.output_fd))
        finally:
            os.close(pin)
        if ours:
            names.remove_temp()
            return
    except OSError as error:
        said = error.strerror or f"error {error.errno}"
        raise ReplaceError(transient(UNFINISHED, f"the unused result could not be removed: {said}")) from error
    # The exchange was done, and an error was told of it.
    raise ReplaceError(transient(UNFINISHED, "the names are not as they were before the exchange"))


def materialise(job: OpenJob, intent: Intent, names: Names) -> Identity:
    """Copy the output to the temp name, with the original's attributes, on disk. Raises ReplaceError."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    doing = "the result could not be copied into the file's folder"
    try:
        fd = os.open(intent.temp_name, flags, 0o600, dir_fd=names.parent_fd)
    except OSError as error:
        raise ReplaceError(failure_of(error, doing, "folder-not-writable")) from error
    try:
        reading = reopen_for_reading(fd)
    except OSError as error:
        job.adopt_output(fd)
        drop_result(job, names)
        raise ReplaceError(failure_of(error, doing, "io-error")) from error
    try:
        try:
            copy_content(job.output_fd, fd)
        finally:
            job.adopt_output(reading)
            os.close(fd)  # where NFS and FUSE may tell that the disk is full
    except OSError as error:
        drop_result(job, names)
        raise ReplaceError(failure_of(error, doing, "io-error")) from error
    try:
        if sha256_of(reading) != intent.result_sha256:
            raise ReplaceError(result_changed())
        result = finish_result(job, reading)
    except OSError as error:
        drop_result(job, names)
        raise ReplaceError(failure_of(error, doing, "io-error")) from error
    except ReplaceError:
        drop_result(job, names)
        raise
    failpoints.hit("replace.after_materialise")
    return result
