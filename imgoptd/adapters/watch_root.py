"""One watched root: what is known of it, how it may be watched, and what may be wrong with its watch."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum

from watchdog.observers.api import EventEmitter, ObservedWatch

from imgoptd.adapters.filesystems import filesystem_of
from imgoptd.adapters.inotify_limits import Exhausted
from imgoptd.adapters.mounts import mounts_below
from imgoptd.adapters.observers import NativeEmitter, NativeObserver, PollObserver, SlowingPollingEmitter
from imgoptd.core.hearing import Hearing
from imgoptd.core.text import show_path


class WatchError(Exception):
    """A folder cannot be watched. `sentence` says why, `mend` what to do; str() is both."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(f"{sentence}; {mend}")
        self.sentence = sentence
        self.mend = mend


class Trouble(StrEnum):
    MISSING = "missing"
    """The folder is not there or cannot be reached."""
    REPLACED = "replaced"
    """Another folder or filesystem stands at the path."""
    MOUNTS = "mounts"
    """A filesystem was mounted or unmounted below the root."""
    PARTIAL = "partial"
    """No watch was left for some new folder."""
    DEAD = "dead"
    """A watching thread ended."""
    DEAF = "deaf"
    """Changes of our own were not heard."""
    FORBIDDEN = "forbidden"
    """The folder is there, and may not be listed or entered."""
    NOT_ARMED = "not-armed"
    """Arming failed."""


@dataclass(frozen=True, slots=True)
class RootTrouble:
    """Changes below the root may go unheard until `rearm` succeeds."""

    root: bytes
    kind: Trouble
    sentence: str


@dataclass(frozen=True, slots=True)
class Backend:
    name: str
    """native | poll"""
    why: str


@dataclass(slots=True)
class Root:
    root: bytes
    recursive: bool
    wanted: str
    real: bytes = b""
    identity: tuple[int, int] = (0, 0)
    mounts: frozenset[bytes] = frozenset()
    backend: Backend = field(default_factory=lambda: Backend("native", ""))
    insists: bool = False
    """Rather not watched at all than polled."""
    exhausted: bool = False
    """Polled for want of inotify watches alone."""
    deaf: bool = False
    """Changes of our own go unheard."""
    deaf_s: float | None = None
    """When it was last armed anew for being deaf (monotonic)."""
    mistrusted: bool = False
    """It went deaf again at once: polled, whatever was asked for."""
    hearing: Hearing = field(default_factory=lambda: Hearing(0.0))
    observer: NativeObserver | PollObserver | None = None
    watch: ObservedWatch | None = None
    emitter: EventEmitter | None = None
    failure: str = ""


FORBIDDEN = "cannot be listed by this user"


def locate(entry: Root) -> None:
    """Find out what stands at the root's path. Raises WatchError where it is nothing that can be watched."""
    # inotify would watch a symlink itself, so the folder it leads to is what we watch
    entry.real = os.path.realpath(entry.root)
    shown = show_path(entry.root)
    try:
        status = os.stat(entry.root)
    except OSError as error:
        mend = "create it or mount it" if error.errno == errno.ENOENT else "make it reachable for this user"
        raise WatchError(f"watched folder {shown}: {error.strerror}", f"{mend}, or remove it from [[watch]]") from error
    if not stat.S_ISDIR(status.st_mode):
        raise WatchError(f"watched folder {shown} is not a folder", "name the folder that holds the files")
    if not _may_list(entry.root):
        raise WatchError(f"watched folder {shown} {FORBIDDEN}", "give the user r and x on it (chmod or setfacl)")
    try:
        filesystem = filesystem_of(entry.real)
    except OSError as error:
        raise unreachable(entry.root, error) from error
    if filesystem.pseudo:
        raise WatchError(
            f"watched folder {shown} lies on {filesystem.name}, where the kernel shows its own state and no files are",
            "name a folder on a disk, or remove it from [[watch]]",
        )
    entry.identity = (status.st_dev, status.st_ino)


def _may_list(folder: bytes) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=True)


def unreachable(root: bytes, error: OSError) -> WatchError:
    return WatchError(
        f"watched folder {show_path(root)} cannot be watched: {error.strerror}", "make it readable for this user"
    )


def choose(entry: Root) -> Backend:
    """How a located root is to be watched. Raises WatchError."""
    if entry.mistrusted:
        return Backend("poll", "inotify went deaf here twice in a row: changes of our own were not heard")
    if entry.wanted in ("native", "poll"):
        return Backend(entry.wanted, "as configured")
    try:
        filesystem = filesystem_of(entry.real)
    except OSError as error:
        raise unreachable(entry.root, error) from error
    if filesystem.remote:
        return Backend("poll", f"on {filesystem.name} inotify does not hear what others write")
    return Backend("native", f"inotify hears all changes on {filesystem.name}")


def trouble_of(entry: Root) -> RootTrouble | None:
    """What a few stat calls show to be wrong with a root, but for a deaf watch; None: nothing."""
    shown = show_path(entry.root)
    try:
        status = os.stat(entry.root)
    except OSError as error:
        return RootTrouble(entry.root, Trouble.MISSING, f"watched folder {shown}: {error.strerror}")
    if entry.observer is None or entry.emitter is None:
        return RootTrouble(entry.root, Trouble.NOT_ARMED, entry.failure or f"{shown} is not watched")
    if (status.st_dev, status.st_ino) != entry.identity:
        sentence = f"another folder or filesystem stands at {shown} now"
        return RootTrouble(entry.root, Trouble.REPLACED, sentence)
    if not _may_list(entry.root):
        return RootTrouble(entry.root, Trouble.FORBIDDEN, f"watched folder {shown} {FORBIDDEN}")
    if not (entry.observer.healthy and entry.emitter.is_alive()):
        return RootTrouble(entry.root, Trouble.DEAD, f"the thread that watches {shown} ended")
    if isinstance(entry.emitter, SlowingPollingEmitter) and entry.emitter.failing:
        return RootTrouble(entry.root, Trouble.MISSING, f"{shown} cannot be read just now")
    if isinstance(entry.emitter, NativeEmitter) and entry.emitter.unwatched[1] == errno.ENOSPC:
        return RootTrouble(entry.root, Trouble.PARTIAL, Exhausted(entry.root, errno.ENOSPC).sentence)
    if entry.recursive and mounts_below(entry.real) != entry.mounts:
        return RootTrouble(entry.root, Trouble.MOUNTS, f"a filesystem was mounted or unmounted below {shown}")
    return None
