"""Where displaced originals are kept: folders of ours, private to the daemon's user.

A rename must lead there, so the place is `.imgoptd/undo` in the topmost folder, from the watched one down to the file,
that lies on the file's own filesystem and mount. Whoever owns the watched folder may put there what he likes: each step
is opened beneath a held descriptor, never through a link, and what is not a folder of the daemon's user with mode 0700
is not used. Where there is no such place originals are copied to `state_dir/undo`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from imgoptd.adapters.beneath import Folder, open_beneath, split
from imgoptd.adapters.mounts import mount_of
from imgoptd.adapters.replace.names import sync_folder

OURS = b".imgoptd"
UNDO = b"undo"

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotOurs(OSError):
    """Something stands where the folder for originals would be, and it is none of ours."""


def find_place(folder: Folder, path: bytes, parent_fd: int) -> tuple[bytes, int] | None:
    """The place for an original of the file at `path`, whose folder is behind `parent_fd`, made where it is missing.

    The place as in `KeptAt`, and a descriptor that the caller owns; None where a rename leads to no such folder.
    """
    here = _filesystem(parent_fd)
    for place in _way_down(split(path)[0]):
        try:
            top = folder.pin_folder(place)
        except OSError:
            return None  # it changes right now
        try:
            if _filesystem(top) != here:
                continue
            fd = _open_in(top, make=True)
        except OSError:
            return None
        finally:
            os.close(top)
        if one_filesystem(fd, parent_fd):
            return place, fd
        os.close(fd)
        return None
    return None


def open_place(folder: Folder, place: bytes, *, make: bool = False) -> int:
    """A descriptor of the folder for originals at a place that was found before; the caller owns it.

    Raises OSError: FileNotFoundError where it is gone and `make` is not asked for, NotOurs.
    """
    top = folder.pin_folder(place)
    try:
        return _open_in(top, make=make)
    finally:
        os.close(top)


def open_state_place(state_dir: bytes, *, make: bool = False) -> int:
    """Likewise in the daemon's own folder. Raises OSError."""
    top = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _open_private(top, UNDO, make=make)
    finally:
        os.close(top)


def _way_down(parent: bytes) -> Iterator[bytes]:
    """The watched folder itself and each folder on the way, down to the file's own."""
    yield b""
    if parent != b".":
        parts = parent.split(b"/")
        for count in range(1, len(parts) + 1):
            yield b"/".join(parts[:count])


def _open_in(top_fd: int, *, make: bool) -> int:
    ours = _open_private(top_fd, OURS, make=make)
    try:
        return _open_private(ours, UNDO, make=make)
    finally:
        os.close(ours)


def _open_private(parent_fd: int, name: bytes, *, make: bool) -> int:
    """Open, or make, a folder that is ours alone. Raises OSError."""
    try:
        fd = open_beneath(parent_fd, name, _FLAGS)
    except FileNotFoundError:
        if not make:
            raise
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            sync_folder(parent_fd)
        except FileExistsError:
            pass  # another thread was faster
        fd = open_beneath(parent_fd, name, _FLAGS)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(fd)
        shown = name.decode()
        raise NotOurs(errno.EPERM, f"{shown} is no folder of user {os.geteuid()} with mode 0700; move it away")
    return fd


def one_filesystem(first_fd: int, second_fd: int) -> bool:
    """Can a file be renamed from one folder to the other? Raises OSError."""
    return _filesystem(first_fd) == _filesystem(second_fd)


def _filesystem(fd: int) -> tuple[int, int | None]:
    """What two folders have in common when a file can be renamed from one to the other (but for project quotas)."""
    return os.fstat(fd).st_dev, mount_of(fd)
