"""After a crash: finish or undo an exchange, by what the names stand for now and never by a name alone.

What the temp is decides, together with what the path is:

| temp                | path       | done                                                                            |
|---------------------|------------|---------------------------------------------------------------------------------|
| absent              | any        | nothing; finished if the path is the result                                     |
| the result          | any        | not exchanged, or undone: remove the temp                                       |
| the original        | the result | finish: remove the temp, if the result's content is whole on disk; else undo    |
| the original        | absent     | put it at the path                                                              |
| the original        | other      | the result was replaced since: remove the temp                                  |
| original, changed   | the result | undo: put it back                                                               |
| a stranger          | the result | a user's newer file was displaced: put it back                                  |
| changed or stranger | absent     | put it at the path                                                              |
| changed or stranger | other      | two versions, and no telling which is newer: keep the temp under a visible name |

Where the intent says that the original is kept, it is not removed but moved to the place where it is kept. Afterwards
that place is looked at: the original's own inode there, or a copy, is an original that is kept; but a copy of what
stands at the path unchanged is removed. A changed file of the original's number may be another one that got it since.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

from imgoptd.adapters import fsinfo
from imgoptd.adapters.beneath import Folder, reopen_for_reading, split
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import identity_of, leased_stat
from imgoptd.adapters.replace.failures import ReplaceError, shown
from imgoptd.adapters.replace.keeping import find_kept, keep_temp, remove_copy, remove_part, same
from imgoptd.adapters.replace.names import Names, sync_folder
from imgoptd.adapters.replace.places import NotOurs, open_place, open_state_place
from imgoptd.adapters.replace.putback import put_back
from imgoptd.core.model import Identity, Intent, KeptAt, Lease


@dataclass(frozen=True, slots=True)
class Recovery:
    finished: bool
    """The verified result stands at the path, unchanged since."""
    identity: Identity | None
    """Of the regular file at the path now; None where there is none."""
    sentence: str
    settled: bool = True
    """False: the names could not be read or changed now (an unmounted disk, an I/O error): keep the intent."""
    kept: Identity | None = None
    """Of the original in the place where it is kept, if it lies there now."""


class _Is(Enum):
    ABSENT = "absent"
    RESULT = "result"
    """The result as we made it, content and all."""
    TOUCHED_RESULT = "touched result"
    """The result's inode, but not as we made it."""
    ORIGINAL = "original"
    """The original just as it was read."""
    TOUCHED_ORIGINAL = "touched original"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class _Seen:
    what: _Is
    fd: int = -1
    """Read-only descriptor of a regular file, else -1."""
    identity: Identity | None = None
    """Of a regular file."""


def recover(folder: Folder, intent: Intent, state_dir: bytes = b"") -> Recovery:
    """Put the names of an intent right; safe to repeat. Never raises for what it meets: see `Recovery.settled`.

    `state_dir` is where originals are kept that could not be kept in the folder.
    """
    path = intent.ref.path
    try:
        parent_fd = folder.open_parent(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.identity[0] == intent.original.dev:
            return Recovery(False, None, "the folder of the file is gone")
        return _unsettled(error)  # perhaps a disk that is not mounted yet
    except OSError as error:
        return _unsettled(error)
    try:
        return _recover(
            Names(parent_fd, intent.temp_name, split(path)[1]), intent, _Undo(folder, intent.keep, state_dir)
        )
    except OSError as error:
        return _unsettled(error)
    except ReplaceError as error:
        return Recovery(False, None, f"the original could not be kept yet: {error.failure.detail}", settled=False)
    finally:
        os.close(parent_fd)


def _unsettled(error: OSError) -> Recovery:
    said = error.strerror or f"error {error.errno}"
    return Recovery(False, None, f"the interrupted replace could not be put right yet: {said}", settled=False)


@dataclass(frozen=True, slots=True)
class _Undo:
    """Where the original of the intent is kept, if at all."""

    folder: Folder
    at: KeptAt | None
    state_dir: bytes

    def open(self, at: KeptAt, *, make: bool) -> int:
        """A descriptor of the place; the caller owns it. Raises OSError."""
        if at.place is None:
            return open_state_place(self.state_dir, make=make)
        return open_place(self.folder, at.place, make=make)


def _recover(names: Names, intent: Intent, undo: _Undo) -> Recovery:
    with ExitStack() as opened:
        temp = _see(names.pin_temp(), intent, opened, may_be_removed=True)
        path = _see(names.pin_name(), intent, opened)
        sentence = _put_right(names, intent, undo, temp, path)
        names.sync_folder()  # also where nothing was left to do: what was done before may not be on disk
        after = _see(names.pin_name(), intent, opened)
        kept = _kept(intent, undo, undo.at, after) if undo.at is not None else None
        return Recovery(after.what is _Is.RESULT, after.identity, sentence, kept=kept)


def _kept(intent: Intent, undo: _Undo, at: KeptAt, path: _Seen) -> Identity | None:
    """Of the original where it is kept now; a copy of one that stands at its path is removed. Raises OSError."""
    try:
        undo_fd = undo.open(at, make=False)
    except (FileNotFoundError, NotOurs):
        return None  # nothing of ours can lie there
    try:
        remove_part(undo_fd, at.name)
        if path.what is _Is.ORIGINAL:
            remove_copy(undo_fd, at.name, intent.original, intent.original_sha256)
            return None
        found = find_kept(undo_fd, at.name)
        if found is None:
            return None
        fd, identity = found
        try:
            sync_folder(undo_fd)
            return identity if same(identity, intent.original) or sha256_of(fd) == intent.original_sha256 else None
        finally:
            os.close(fd)
    finally:
        os.close(undo_fd)


def _put_right(names: Names, intent: Intent, undo: _Undo, temp: _Seen, path: _Seen) -> str:
    """Raises OSError and ReplaceError."""
    if temp.what is _Is.ABSENT:
        return "the result stands at the path" if path.what is _Is.RESULT else "no result was put at the path"
    if intent.result is None:
        return _remove_copy(names, temp)
    if temp.what is _Is.RESULT:
        names.remove_temp()
        return "the unused result was removed"
    if path.what is _Is.ABSENT:
        names.temp_into_gap()
        return "nothing stood at the path; what the exchange had displaced was put there"
    if temp.what is _Is.ORIGINAL:
        return _with_original_displaced(names, intent, undo, temp, path)
    if path.what in (_Is.RESULT, _Is.TOUCHED_RESULT) and temp.what is not _Is.TOUCHED_RESULT:
        return _undo(names, intent.result, path, "the file had changed; it was put back")
    return _keep(names)


def _remove_copy(names: Names, temp: _Seen) -> str:
    """The intent knows no result inode: the temp, of a random name made with O_EXCL, is our unfinished copy."""
    if temp.fd < 0 or temp.what in (_Is.ORIGINAL, _Is.TOUCHED_ORIGINAL):
        return _keep(names)  # not what we make
    names.remove_temp()
    return "the unfinished copy of the result was removed"


def _with_original_displaced(names: Names, intent: Intent, undo: _Undo, temp: _Seen, path: _Seen) -> str:
    """The exchange happened and the temp is the unchanged original. Raises OSError and ReplaceError."""
    result = intent.result
    assert result is not None
    if path.what is _Is.TOUCHED_RESULT and path.identity is not None and path.identity.mtime_ns == result.mtime_ns:
        # Nobody wrote to it, yet it is not what we wrote: a disk that lied at fsync.
        return _undo(names, result, path, "the result was not whole; the original was put back")
    if not fsinfo.keeps_order(names.parent_fd):
        names.sync_folder()
    if undo.at is None:
        names.remove_temp()
    else:
        _keep_temp(names, intent, undo, undo.at, temp)
    gone = "removed" if undo.at is None else "kept"
    if path.what is _Is.RESULT:
        return "the exchange was finished" if undo.at is None else "the exchange was finished, and the original kept"
    return f"the result stood at the path and was changed since; the displaced original was {gone}"


def _keep_temp(names: Names, intent: Intent, undo: _Undo, at: KeptAt, temp: _Seen) -> None:
    """Move the temp, the original, to its place, unless a whole copy lies there. Raises OSError and ReplaceError."""
    undo_fd = undo.open(at, make=True)
    try:
        found = find_kept(undo_fd, at.name)
        if found is not None:
            os.close(found[0])
            if _kept(intent, undo, at, _Seen(_Is.ABSENT)) is None:
                raise NotOurs(errno.EEXIST, "another file lies where the original is to be kept; move it away")
            names.remove_temp()
        else:
            keep_temp(names, temp.fd, os.fstat(temp.fd), undo_fd, at.name)
    finally:
        os.close(undo_fd)


def _undo(names: Names, result: Identity, path: _Seen, sentence: str) -> str:
    here = result._replace(dev=os.fstat(path.fd).st_dev)
    kept = put_back(names, path.fd, here)
    return sentence if kept is None else f"{sentence}; another version is kept as {shown(kept)}"


def _keep(names: Names) -> str:
    return f"two versions of the file met; one is kept as {shown(names.keep_temp())}"


def _see(pin: int | None, intent: Intent, opened: ExitStack, may_be_removed: bool = False) -> _Seen:
    """What the pinned file is to the intent; takes over the pin. Raises OSError.

    What may be removed counts as touched while somebody has it open for writing.
    """
    if pin is None:
        return _Seen(_Is.ABSENT)
    opened.callback(os.close, pin)
    if not stat.S_ISREG(os.fstat(pin).st_mode):
        return _Seen(_Is.STRANGER)
    fd = reopen_for_reading(pin)
    opened.callback(os.close, fd)
    lease, status = leased_stat(fd)
    now = identity_of(status)
    free = lease is not Lease.BUSY or not may_be_removed
    if intent.result is not None and now.ino == intent.result.ino:
        whole = free and same(now, intent.result) and sha256_of(fd) == intent.result_sha256
        return _Seen(_Is.RESULT if whole else _Is.TOUCHED_RESULT, fd, now)
    if now.ino == intent.original.ino:
        whole = free and same(now, intent.original) and _is_content(fd, now, intent)
        return _Seen(_Is.ORIGINAL if whole else _Is.TOUCHED_ORIGINAL, fd, now)
    return _Seen(_Is.STRANGER, fd, now)


def _is_content(fd: int, now: Identity, intent: Intent) -> bool:
    if intent.original_sha256:
        return sha256_of(fd) == intent.original_sha256
    return now.dev == intent.original.dev
