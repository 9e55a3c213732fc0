"""Putting a kept original back: a compare-and-swap like the replace, the other way round.

The kept inode itself is exchanged with the file at the path, so that it comes back with all its attributes. Where no
rename leads from its place to the path it is copied to a nameless file beside the path first.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import replace as with_fields

from imgoptd.adapters import failpoints, fsinfo
from imgoptd.adapters.beneath import Folder, reopen_for_reading, split
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import identity_of, leased_stat
from imgoptd.adapters.replace.attributes import copy_attributes, same_attributes
from imgoptd.adapters.replace.failures import UNFINISHED, Refused, changed, failure_of, transient
from imgoptd.adapters.replace.keeping import copy_content, find_kept, same
from imgoptd.adapters.replace.names import UNSUPPORTED, Names, new_temp_name
from imgoptd.adapters.replace.places import one_filesystem
from imgoptd.adapters.replace.putback import put_back
from imgoptd.adapters.undo.sweeping import open_place_of
from imgoptd.core.model import Failure, FailureKind, Kept, Lease, Restoring

NOT_OUR_RESULT = "not-our-result"
NO_RENAME = "no-rename"


@dataclass(slots=True)
class OpenRestore:
    """What a restore holds open between the check and the exchange; close it whatever comes."""

    kept: Kept
    """With `restoring`."""
    parent_fd: int
    undo_fd: int
    stand_in_fd: int
    """Read-only, of what shall stand at the path: the kept file, or its copy, which has no name yet."""
    opened: ExitStack

    @property
    def copied(self) -> bool:
        return bool(self.kept.restoring and self.kept.restoring.temp_name)

    def names(self) -> Names:
        restoring = self.kept.restoring
        assert restoring is not None
        name = split(self.kept.ref.path)[1]
        if restoring.temp_name:
            return Names(self.parent_fd, restoring.temp_name, name)
        return Names(self.parent_fd, self.kept.at.name, name, self.undo_fd)

    def close(self) -> None:
        """Closing twice is harmless; a copy that has no name ceases to exist."""
        self.opened.close()


@dataclass(frozen=True, slots=True)
class PutBack:
    """The original stands at the path, durably."""

    beside: bytes
    """The visible name under which another file than our result had to be kept; empty: none."""


def open_restore(folder: Folder, kept: Kept, state_dir: bytes, *, force: bool, by_copy: bool = False) -> OpenRestore:
    """Find the kept original whole, and its path free, holding our result, or, with `force`, anything.

    With `by_copy` a copy is made although a rename should do: what is to be asked for after NO_RENAME.

    Changes nothing that has a name. Raises Refused: `kept-gone`, `kept-changed`, `kept-damaged`, `folder-gone`,
    `not-our-result`, `busy`, `cannot-copy-here`, and what the kernel says.
    """
    with ExitStack() as opened:
        try:
            undo_fd = open_place_of(folder, kept, state_dir)
            opened.callback(os.close, undo_fd)
            source_fd = _open_kept(undo_fd, kept, opened)
            parent_fd = _open_parent(folder, kept.ref.path)
            opened.callback(os.close, parent_fd)
            _check_path(Names(parent_fd, b"", split(kept.ref.path)[1]), kept, source_fd, force)
            if kept.at.place is not None and not by_copy and one_filesystem(undo_fd, parent_fd):
                stand_in_fd, temp_name = source_fd, b""
            else:
                stand_in_fd, temp_name = _copy_beside(source_fd, parent_fd), new_temp_name()
                opened.callback(os.close, stand_in_fd)
            restoring = Restoring(temp_name, identity_of(os.fstat(stand_in_fd)))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Refused(_gone()) from error
        except OSError as error:
            raise Refused(failure_of(error, "the original cannot be put back", "not-permitted")) from error
        whole = with_fields(kept, restoring=restoring)
        return OpenRestore(whole, parent_fd, undo_fd, stand_in_fd, opened.pop_all())


def restore(job: OpenRestore, *, force: bool) -> PutBack:
    """Exchange. That the file is restored is durable already.

    Raises Refused: the path then holds what it held, or what somebody put there since, and the original is still kept.
    After TRANSIENT `unfinished` names may be left for `recover_restore`. TRANSIENT NO_RENAME: nothing was done, for
    no rename leads there within the filesystem (project quotas divide one: rename(2), EXDEV); a copy is the way.
    """
    names = job.names()
    try:
        if job.copied:
            source = b"/proc/self/fd/%d" % job.stand_in_fd
            os.link(source, names.temp, dst_dir_fd=names.parent_fd, follow_symlinks=True)
        failpoints.hit("restore.before_exchange")
        displaced = names.exchange_or_fill()
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return _without_exchange(job, names, force)
        _drop_copy(job, names)
        failure = _gone() if error.errno == errno.ENOENT else None
        if error.errno == errno.EXDEV:
            failure = transient(NO_RENAME, "no rename leads from where it is kept to its folder: it must be copied")
        raise Refused(failure or failure_of(error, "the original cannot be put back", "not-permitted")) from error
    failpoints.hit("restore.after_exchange")
    return _settle(job, names, force, displaced)


def _settle(job: OpenRestore, names: Names, force: bool, displaced: bool) -> PutBack:
    """The original stands at the path: look at what came out. Raises Refused."""
    restoring = job.kept.restoring
    assert restoring is not None
    try:
        beside = b""
        failure = _why_not_our_result(names.pin_temp(), job.kept, job.stand_in_fd) if displaced else None
        if failure is not None and not force:
            put_back(names, job.stand_in_fd, restoring.identity, stays=not job.copied)
            names.sync_folder()
            raise Refused(failure)
        if failure is not None:
            beside = names.keep_temp()
        elif displaced:
            if not fsinfo.keeps_order(names.parent_fd):
                names.sync_folder()
            names.remove_temp()
        failpoints.hit("restore.after_unlink")
        names.sync_folder()
        if job.copied:
            _remove_kept(job)
        return PutBack(beside)
    except OSError as error:
        raise Refused(_unfinished(error)) from error


def _without_exchange(job: OpenRestore, names: Names, force: bool) -> PutBack:
    """No flags of renameat2 on this filesystem: check once more, then rename. Raises Refused."""
    beside = b""
    try:
        pin = names.pin_name()
        failure = None if pin is None else _why_not_our_result(pin, job.kept, job.stand_in_fd)
        if failure is not None and not force:
            _drop_copy(job, names)
            raise Refused(failure)
        if failure is not None:
            beside = Names(names.parent_fd, names.name, names.name).keep_temp()
        names.temp_over_name()
    except OSError as error:
        raise Refused(_unfinished(error)) from error
    _settle(job, names, force, displaced=False)
    return PutBack(beside)


def _why_not_our_result(pin: int | None, kept: Kept, original_fd: int) -> Failure | None:
    """None if the pinned file is the result that took the original's place, untouched since. Takes over the pin.

    It was given the attributes of the original: others are somebody's who set them since. Raises OSError.
    """
    if pin is None:
        return None  # somebody removed it: gone is what it should be
    with ExitStack() as opened:
        opened.callback(os.close, pin)
        if not stat.S_ISREG(os.fstat(pin).st_mode):
            return _not_ours("something else than a file stands at the path")
        fd = reopen_for_reading(pin)
        opened.callback(os.close, fd)
        lease, status = leased_stat(fd)
        if lease is Lease.BUSY:
            return changed("busy", "another program has the file open for writing")
        if not same(identity_of(status), kept.result) or sha256_of(fd) != kept.result_sha256:
            return _not_ours("the file is not the result that took the original's place, or was changed since")
        if not same_attributes(fd, original_fd):
            return _not_ours("its owner, rights or extended attributes were changed since")
        return None


def _not_ours(detail: str) -> Failure:
    return Failure(FailureKind.REJECTED, NOT_OUR_RESULT, f"{detail}; --force brings the original back and keeps both")


def _check_path(names: Names, kept: Kept, original_fd: int, force: bool) -> None:
    """Before anything is made durable: the common refusals. Raises Refused and OSError."""
    failure = None if force else _why_not_our_result(names.pin_name(), kept, original_fd)
    if failure is not None:
        raise Refused(failure)


def _open_kept(undo_fd: int, kept: Kept, opened: ExitStack) -> int:
    """Raises Refused and OSError."""
    found = find_kept(undo_fd, kept.at.name)
    if found is None:
        raise Refused(_gone())
    fd, identity = found
    opened.callback(os.close, fd)
    if not same(identity, kept.identity):
        detail = "the kept original was written to since, or is another file; it is left where it is"
        raise Refused(Failure(FailureKind.REJECTED, "kept-changed", detail))
    if sha256_of(fd) != kept.sha256:
        detail = "the kept original no longer has its content: is the disk failing? It is left where it is"
        raise Refused(Failure(FailureKind.CORRUPT, "kept-damaged", detail))
    return fd


def _open_parent(folder: Folder, path: bytes) -> int:
    """Raises Refused and OSError."""
    try:
        return folder.open_parent(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        detail = "the folder it belongs to is gone; make it again, then restore"
        raise Refused(Failure(FailureKind.REJECTED, "folder-gone", detail)) from error


def _copy_beside(source_fd: int, parent_fd: int) -> int:
    """A read-only descriptor of a nameless copy in the file's folder, on disk. Raises Refused and OSError."""
    try:
        fd = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        detail = "its filesystem takes no files without a name; copy the original from where it is kept by hand"
        raise Refused(Failure(FailureKind.REJECTED, "cannot-copy-here", detail)) from error
    try:
        copy_content(source_fd, fd)
        copy_attributes(source_fd, fd, os.fstat(source_fd))
        os.fsync(fd)
        return reopen_for_reading(fd)
    finally:
        os.close(fd)


def _drop_copy(job: OpenRestore, names: Names) -> None:
    """Nothing was exchanged: the copy, if it has its name already, is removed. Raises Refused."""
    if not job.copied:
        return
    try:
        names.remove_temp()
    except FileNotFoundError:
        pass  # it got no name
    except OSError as error:
        raise Refused(_unfinished(error)) from error


def _remove_kept(job: OpenRestore) -> None:
    """The copy stands at the path: what was kept is kept no longer. Raises OSError."""
    found = find_kept(job.undo_fd, job.kept.at.name)
    if found is not None:
        os.close(found[0])
        if same(found[1], job.kept.identity):
            os.unlink(job.kept.at.name, dir_fd=job.undo_fd)


def _gone() -> Failure:
    return Failure(FailureKind.REJECTED, "kept-gone", "the kept original is no longer where it was put")


def _unfinished(error: OSError) -> Failure:
    said = error.strerror or f"error {error.errno}"
    return transient(UNFINISHED, f"names could not be put right: {said}; nothing is lost, it is tried again later")
