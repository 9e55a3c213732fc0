"""After a crash within a restore: finish it or take it back, by what the names stand for now.

The stand-in is what was to stand at the path: the kept file itself, under its own name in the place for originals, or a
copy of it under a temp name beside the path. That name is the temp here.

| temp          | path         | done                                                            |
|---------------|--------------|-----------------------------------------------------------------|
| absent        | any          | nothing; it is restored if the path is the stand-in             |
| the stand-in  | any          | not exchanged, or exchanged back: a copy is removed             |
| our result    | the stand-in | finish: remove the result; but if its content is not whole: undo |
| our result    | other        | finish: remove the result                                       |
| anything else | the stand-in | a user's newer file was displaced: exchange back                |
| anything else | absent       | put it at the path                                              |
| anything else | other        | two versions met: keep the temp under a visible name            |
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
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.replace.failures import shown
from imgoptd.adapters.replace.keeping import find_kept, same
from imgoptd.adapters.replace.names import Names, pin_or_none
from imgoptd.adapters.replace.putback import put_back
from imgoptd.adapters.undo.sweeping import open_place_of, perhaps_elsewhere
from imgoptd.core.model import Identity, Kept


@dataclass(frozen=True, slots=True)
class RestoreRecovery:
    still_kept: bool
    """The original lies where it was kept."""
    identity: Identity | None
    """Of the regular file at the path now; None where there is none."""
    sentence: str
    settled: bool = True
    """False: the names could not be read or changed now: ask again later."""


class _Is(Enum):
    ABSENT = "absent"
    STAND_IN = "stand-in"
    RESULT = "result"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class _Seen:
    what: _Is
    fd: int = -1
    identity: Identity | None = None


def recover_restore(folder: Folder, kept: Kept, state_dir: bytes) -> RestoreRecovery:
    """Put the names right; safe to repeat. Never raises for what it meets: see `RestoreRecovery.settled`."""
    restoring = kept.restoring
    assert restoring is not None
    with ExitStack() as opened:
        try:
            undo_fd = _open_undo(folder, kept, state_dir, opened)
            try:
                parent_fd = folder.open_parent(kept.ref.path)
            except (FileNotFoundError, NotADirectoryError):
                return RestoreRecovery(_lies_there(undo_fd, kept), None, "the folder of the file is gone")
            opened.callback(os.close, parent_fd)
            name = split(kept.ref.path)[1]
            if restoring.temp_name:
                names = Names(parent_fd, restoring.temp_name, name)
            elif undo_fd >= 0:
                names = Names(parent_fd, kept.at.name, name, undo_fd)
            else:
                identity = _see(pin_or_none(parent_fd, name), kept, opened).identity
                return RestoreRecovery(False, identity, "the place where the original was kept is gone")
            return _recover(names, kept, undo_fd, opened)
        except OSError as error:
            said = error.strerror or f"error {error.errno}"
            return RestoreRecovery(True, None, f"the interrupted restore could not be put right yet: {said}", False)


def _recover(names: Names, kept: Kept, undo_fd: int, opened: ExitStack) -> RestoreRecovery:
    """Raises OSError."""
    temp = _see(names.pin_temp(), kept, opened)
    path = _see(names.pin_name(), kept, opened)
    sentence = _put_right(names, kept, temp, path)
    names.sync_folder()
    after = _see(names.pin_name(), kept, opened)
    still_kept = _lies_there(undo_fd, kept)
    if after.what is _Is.STAND_IN and still_kept and sha256_of(after.fd) == kept.sha256:  # its copy stands there, whole
        os.unlink(kept.at.name, dir_fd=undo_fd)
        still_kept = False
    return RestoreRecovery(still_kept, after.identity, sentence)


def _put_right(names: Names, kept: Kept, temp: _Seen, path: _Seen) -> str:
    """Raises OSError."""
    restoring = kept.restoring
    assert restoring is not None
    if temp.what is _Is.ABSENT:
        restored = path.what is _Is.STAND_IN
        return "the original was brought back" if restored else "the original was not brought back; restore it again"
    if temp.what is _Is.STAND_IN:
        if restoring.temp_name:
            names.remove_temp()
        return "the interrupted restore was taken back; restore it again"
    if temp.what is _Is.RESULT and path.what is _Is.STAND_IN and sha256_of(path.fd) != kept.sha256:
        here = restoring.identity._replace(dev=os.fstat(path.fd).st_dev)
        put_back(names, path.fd, here, stays=not restoring.temp_name)
        return "the original at the path was not whole on disk; the interrupted restore was taken back"
    if temp.what is _Is.RESULT:
        if not fsinfo.keeps_order(names.parent_fd):
            names.sync_folder()
        names.remove_temp()
        return "the interrupted restore was finished"
    if path.what is _Is.ABSENT:
        names.temp_into_gap()
        return "nothing stood at the path; what the restore had displaced was put there"
    beside = None
    if path.what is _Is.STAND_IN:
        here = restoring.identity._replace(dev=os.fstat(path.fd).st_dev)
        beside = put_back(names, path.fd, here, stays=not restoring.temp_name)
    else:
        beside = names.keep_temp()
    sentence = "the file had changed; the interrupted restore was taken back"
    return sentence if beside is None else f"two versions of the file met; one is kept as {shown(beside)}"


def _open_undo(folder: Folder, kept: Kept, state_dir: bytes, opened: ExitStack) -> int:
    """-1 where the place is gone. Raises OSError."""
    try:
        fd = open_place_of(folder, kept, state_dir)
    except (FileNotFoundError, NotADirectoryError):
        if perhaps_elsewhere(folder, kept):
            raise
        return -1
    opened.callback(os.close, fd)
    return fd


def _lies_there(undo_fd: int, kept: Kept) -> bool:
    """Raises OSError."""
    found = find_kept(undo_fd, kept.at.name) if undo_fd >= 0 else None
    if found is None:
        return False
    os.close(found[0])
    return same(found[1], kept.identity)


def _see(pin: int | None, kept: Kept, opened: ExitStack) -> _Seen:
    """What the pinned file is to the restore; takes over the pin. Raises OSError."""
    if pin is None:
        return _Seen(_Is.ABSENT)
    opened.callback(os.close, pin)
    if not stat.S_ISREG(os.fstat(pin).st_mode):
        return _Seen(_Is.OTHER)
    fd = reopen_for_reading(pin)
    opened.callback(os.close, fd)
    now = identity_of(os.fstat(fd))
    if kept.restoring is not None and same(now, kept.restoring.identity):
        return _Seen(_Is.STAND_IN, fd, now)
    if same(now, kept.result) and sha256_of(fd) == kept.result_sha256:
        return _Seen(_Is.RESULT, fd, now)
    return _Seen(_Is.OTHER, fd, now)
