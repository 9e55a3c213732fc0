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
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

from imgoptd.adapters import fsinfo
from imgoptd.adapters.beneath import Folder, reopen_for_reading, split
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import identity_of, leased_stat
from imgoptd.adapters.replace.failures import shown
from imgoptd.adapters.replace.names import Names
from imgoptd.adapters.replace.putback import put_back
from imgoptd.core.model import Identity, Intent, Lease


@dataclass(frozen=True, slots=True)
class Recovery:
    finished: bool
    """The verified result stands at the path, unchanged since."""
    identity: Identity | None
    """Of the regular file at the path now; None where there is none."""
    sentence: str
    settled: bool = True
    """False: the names could not be read or changed now (an unmounted disk, an I/O error): keep the intent."""


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


def recover(folder: Folder, intent: Intent) -> Recovery:
    """Put the names of an intent right; safe to repeat. Never raises for what it meets: see `Recovery.settled`."""
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
        return _recover(Names(parent_fd, intent.temp_name, split(path)[1]), intent)
    except OSError as error:
        return _unsettled(error)
    finally:
        os.close(parent_fd)


def _unsettled(error: OSError) -> Recovery:
    said = error.strerror or f"error {error.errno}"
    return Recovery(False, None, f"the interrupted replace could not be put right yet: {said}", settled=False)


def _recover(names: Names, intent: Intent) -> Recovery:
    with ExitStack() as opened:
        temp = _see(names.pin_temp(), intent, opened, may_be_removed=True)
        path = _see(names.pin_name(), intent, opened)
        sentence = _put_right(names, intent, temp, path)
        if temp.what is not _Is.ABSENT:
            names.sync_folder()
        after = _see(names.pin_name(), intent, opened)
        return Recovery(after.what is _Is.RESULT, after.identity, sentence)


def _put_right(names: Names, intent: Intent, temp: _Seen, path: _Seen) -> str:
    """Raises OSError."""
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
        return _with_original_displaced(names, intent.result, path)
    if path.what in (_Is.RESULT, _Is.TOUCHED_RESULT) and temp.what is not _Is.TOUCHED_RESULT:
        return _undo(names, intent.result, path, "the file had changed; it was put back")
    return _keep(names)


def _remove_copy(names: Names, temp: _Seen) -> str:
    """The intent knows no result inode: the temp, of a random name made with O_EXCL, is our unfinished copy."""
    if temp.fd < 0 or temp.what in (_Is.ORIGINAL, _Is.TOUCHED_ORIGINAL):
        return _keep(names)  # not what we make
    names.remove_temp()
    return "the unfinished copy of the result was removed"


def _with_original_displaced(names: Names, result: Identity, path: _Seen) -> str:
    """The exchange happened and the temp is the unchanged original."""
    if path.what is _Is.TOUCHED_RESULT and path.identity is not None and path.identity.mtime_ns == result.mtime_ns:
        # Nobody wrote to it, yet it is not what we wrote: a disk that lied at fsync.
        return _undo(names, result, path, "the result was not whole; the original was put back")
    if not fsinfo.keeps_order(names.parent_fd):
        names.sync_folder()
    names.remove_temp()
    if path.what is _Is.RESULT:
        return "the exchange was finished"
    return "the result stood at the path and was changed since; the displaced original was removed"


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
        whole = free and _same(now, intent.result) and sha256_of(fd) == intent.result_sha256
        return _Seen(_Is.RESULT if whole else _Is.TOUCHED_RESULT, fd, now)
    if now.ino == intent.original.ino:
        whole = free and _same(now, intent.original) and _is_content(fd, now, intent)
        return _Seen(_Is.ORIGINAL if whole else _Is.TOUCHED_ORIGINAL, fd, now)
    return _Seen(_Is.STRANGER, fd, now)


def _same(now: Identity, then: Identity) -> bool:
    """Equal but for the device number: those of btrfs, overlay and tmpfs are given anew at each mount."""
    return now[1:] == then[1:]


def _is_content(fd: int, now: Identity, intent: Intent) -> bool:
    if intent.original_sha256:
        return sha256_of(fd) == intent.original_sha256
    return now.dev == intent.original.dev
