"""What one watched folder allows: looked at, and tried with files of our own that are gone again at once."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from imgoptd.adapters import fsinfo
from imgoptd.adapters.beneath import Folder, KernelTooOld
from imgoptd.adapters.filesystems import filesystem_of
from imgoptd.adapters.look import leased_stat
from imgoptd.adapters.replace.attributes import can_keep_owner
from imgoptd.adapters.replace.names import UNSUPPORTED, Names
from imgoptd.adapters.replace.places import OURS, UNDO, open_place
from imgoptd.adapters.room import told_room
from imgoptd.config.schema import Watch
from imgoptd.core.model import Lease
from imgoptd.core.text import show_bytes, show_path
from imgoptd.wire.findings import Finding, Level

"""Less free space than this is worth a warning: a result stands beside its original for a moment."""
SURVEY_FOLDERS = 300_000
SURVEY_FILES = 2000
SURVEY_S = 10.0
"""Bounds of the walk that counts folders and looks whose the files are."""


class Report(Protocol):
    """Takes a finding; its subject is the folder."""

    def __call__(self, level: Level, sentence: str, mend: str = "") -> None: ...


@dataclass(slots=True)
class Survey:
    """What a bounded walk of the folder saw."""

    folders: int = 0
    whole: bool = True
    """False: a bound ended the walk."""
    files: int = 0
    foreign: int = 0
    """Of `files`, those whose owner or group we could not give to a result."""
    unreadable: int = 0


def inspect_folder(watch: Watch) -> tuple[list[Finding], Survey]:
    """All findings of one `[[watch]]`, and the survey (empty where the folder cannot be used).

    What is wrong with a folder is a warning: the daemon runs without it, and takes it up once it was mended.
    """
    findings: list[Finding] = []
    subject = f"watch {show_path(watch.path)}"

    def report(level: Level, sentence: str, mend: str = "") -> None:
        findings.append(Finding(level, subject, sentence, mend))

    if not _usable(watch, report):
        return findings, Survey()
    if not watch.output:
        space(watch.path, report)
        abilities(watch.path, report, input_too=True)
    _hearing(watch, report)
    if watch.settings.keep_original:
        _undo(watch, report)
    survey = _survey(watch)
    _owners(survey, report)
    return findings, survey


def _usable(watch: Watch, report: Report) -> bool:
    try:
        status = os.stat(watch.path)
    except OSError as error:
        sentence = f"{error.strerror}; the daemon starts without it and keeps looking for it"
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        mend = "create it or mount it" if missing else "let this user enter the folders above it"
        report(Level.WARNING, sentence, f"{mend}, or remove it from [[watch]]")
        return False
    if not stat.S_ISDIR(status.st_mode):
        report(Level.WARNING, "is not a folder", "name the folder that holds the files")
        return False
    filesystem = filesystem_of(watch.path)
    if filesystem.pseudo:
        sentence = (
            f"lies on {filesystem.name}, where the kernel shows its own state and no files are; it is not watched"
        )
        report(Level.WARNING, sentence, "name a folder on a disk, or remove it from [[watch]]")
        return False
    # Originals that have an output tree are only read.
    if not (writable(watch.path, report) if not watch.output else readable(watch.path, report)):
        return False
    try:
        Folder(watch.path).close()
    except KernelTooOld as error:
        report(Level.ERROR, str(error), "update the kernel or the container runtime")
        return False
    except OSError as error:
        report(Level.WARNING, f"cannot be opened: {error.strerror}", "mend its rights")
        return False
    return True


def _undo(watch: Watch, report: Report) -> None:
    """Where originals will be kept. Nothing is made here."""
    where = watch.path + b"/" + OURS + b"/" + UNDO
    try:
        with Folder(watch.path) as folder:
            os.close(open_place(folder, b""))
    except FileNotFoundError:
        pass  # made when the first original is kept
    except OSError as error:
        said = error.strerror or str(error)
        sentence = f"originals cannot be kept in {show_path(where)} ({said}): they are copied to state_dir"
        report(Level.WARNING, sentence, "move away what stands there, so that keeping one is a rename")
        return
    space = os.statvfs(watch.path)
    report(Level.OK, f"originals are kept in {show_path(where)}, {show_bytes(space.f_bavail * space.f_frsize)} free")


def readable(path: bytes, report: Report) -> bool:
    if os.access(path, os.R_OK | os.X_OK, effective_ids=True):
        return True
    user = os.geteuid()
    mend = f"give it r and x (setfacl -R -m u:{user}:rX,d:u:{user}:rX), or run as another user"
    report(Level.WARNING, f"user {user} may not read and enter it", mend)
    return False


def writable(path: bytes, report: Report) -> bool:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        report(Level.WARNING, "lies on a filesystem mounted read-only", "mount it read-write (mount -o remount,rw)")
        return False
    if os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return True
    user = os.geteuid()
    mend = f"give it r, w and x (setfacl -R -m u:{user}:rwX,d:u:{user}:rwX), or run as another user"
    report(Level.WARNING, f"user {user} may not read, write and enter it", mend)
    return False


def space(path: bytes, report: Report) -> None:
    filesystem, space = filesystem_of(path), os.statvfs(path)
    enough, room = told_room(space)
    if not enough:
        mend = "free some space: a result stands beside its original for a moment"
        report(Level.WARNING, f"{filesystem.name}, {room}", mend)
    elif space.f_files and space.f_favail < 100:
        report(Level.WARNING, f"only {space.f_favail} inodes are free", "delete files: each result needs a new inode")
    else:
        report(Level.OK, f"{filesystem.name}, {room}")


def _hearing(watch: Watch, report: Report) -> None:
    filesystem = filesystem_of(watch.path)
    if not filesystem.remote:
        return
    if watch.backend == "native":
        report(
            Level.WARNING,
            f"on {filesystem.name} inotify hears only what this machine writes",
            'set backend = "auto" or "poll"',
        )
    else:
        report(Level.OK, f"is polled: on {filesystem.name} inotify does not hear what others write")


def _owners(survey: Survey, report: Report) -> None:
    if survey.foreign:
        report(
            Level.WARNING,
            f"{survey.foreign} of {survey.files} files looked at belong to others and will be left alone",
            "run as root, or give the daemon CAP_CHOWN and CAP_FOWNER, so that results keep their owner",
        )
    if survey.unreadable:
        report(
            Level.WARNING,
            f"{survey.unreadable} folders in it cannot be listed by user {os.geteuid()}",
            "give the user r and x on them, or exclude them",
        )


def abilities(path: bytes, report: Report, *, input_too: bool) -> None:
    """Try what putting results there will need, and with `input_too` what telling whole files will."""
    parent = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _own_file(parent) as (first, name), _own_file(parent) as (_, other):
            if input_too:
                _lease(parent, name, report, fsinfo.close_is_whole(first))
            _exchange(Names(parent, other, name), report)
        _nameless(parent, report)
    except OSError as error:
        mend = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend its rights"
        report(Level.WARNING, f"a file cannot be made in it: {error.strerror}", mend)
    finally:
        os.close(parent)


@contextmanager
def _own_file(parent: int) -> Iterator[tuple[int, bytes]]:
    # begins like all our temps, so that a running daemon takes no notice
    name = b".imgoptd-check-" + secrets.token_hex(8).encode()
    descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)
        os.unlink(name, dir_fd=parent)


def _lease(parent: int, name: bytes, report: Report, close_is_whole: bool) -> None:
    """The one descriptor open for writing must be seen, and its end too."""
    reading = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=parent)
    try:
        seen = leased_stat(reading)[0]
    finally:
        os.close(reading)
    if seen is Lease.BUSY:
        report(Level.OK, "a file that somebody still writes to is known by a read lease")
    elif close_is_whole:
        report(
            Level.OK,
            "read leases show no writers here; a closed file is known by its close, others by the quiet time `settle`",
        )
    else:
        report(
            Level.WARNING,
            "neither leases nor closes tell when a file is whole, only the quiet time `settle` does",
            "let settle be longer than the longest pause of whatever writes here, such as 10s, "
            "or let files be written elsewhere and moved in",
        )


def _exchange(names: Names, report: Report) -> None:
    try:
        names.exchange()
        report(Level.OK, "results are exchanged atomically")
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        report(
            Level.WARNING,
            "the filesystem has no atomic exchange: a file is checked, then replaced, with microseconds between",
            "let nobody rewrite files in the moment they are optimised, or use a local filesystem",
        )


def _nameless(parent: int, report: Report) -> None:
    try:
        os.close(os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=parent))
        report(Level.OK, "results are written without a name until they are whole")
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
        report(Level.OK, "no nameless files here: results are written in state_dir, then copied")


def _survey(watch: Watch) -> Survey:
    survey, deadline_s = Survey(), time.monotonic() + SURVEY_S
    pending = [watch.path]
    while pending:
        folder = pending.pop()
        survey.folders += 1
        if survey.folders >= SURVEY_FOLDERS or time.monotonic() > deadline_s:
            survey.whole = False
            break
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if watch.recursive:
                            pending.append(entry.path)
                    elif survey.files < SURVEY_FILES and entry.is_file(follow_symlinks=False):
                        survey.files += 1
                        survey.foreign += not can_keep_owner(entry.stat(follow_symlinks=False))
        except PermissionError:
            survey.unreadable += 1
        except OSError:
            continue  # vanished meanwhile
    return survey
