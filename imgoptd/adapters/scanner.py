"""Walking a watched folder: every entry below it with its stat, sorted by path, one descriptor open at a time."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from imgoptd.adapters.beneath import Folder
from imgoptd.core.model import Identity
from imgoptd.core.rescan import Entry, Kind, Seen

NO_FOLDER_ANY_MORE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})
"""It vanished, or became a file or a link, since its parent was listed: no error, the next scan sees what is."""
PIECE = 512
"""Entries that are looked at with one opening of their folder, at most."""
_NOWHERE = Identity(0, 0, 0, 0)


class Stated(NamedTuple):
    """An entry with its stat, which is taken apart only where somebody asks: of a million files nobody does."""

    path: bytes
    mark: str
    status: os.stat_result

    @property
    def kind(self) -> Kind:
        mode = self.status.st_mode
        return Kind.REGULAR if stat.S_ISREG(mode) else Kind.SYMLINK if stat.S_ISLNK(mode) else Kind.OTHER

    @property
    def identity(self) -> Identity:
        status = self.status
        return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def mode(self) -> int:
        return stat.S_IMODE(self.status.st_mode)

    @property
    def nlink(self) -> int:
        return self.status.st_nlink

    @property
    def uid(self) -> int:
        return self.status.st_uid

    @property
    def ctime_ns(self) -> int:
        return self.status.st_ctime_ns


def walk(
    folder: Folder,
    recursive: bool,
    skip_dir: Callable[[bytes], bool],
    on_error: Callable[[bytes, OSError], None],
    start: bytes = b"",
) -> Iterator[list[Entry]]:
    """Yield in pieces, sorted by the bytes of the path, all that lies below `folder`, folders with a slash at the end.

    With `start` only what lies below that folder of it is walked; paths stay relative to `folder`.

    Entries are looked at by fstatat beneath the held folder. A folder for which `skip_dir(path)` is true is not
    entered, nor is a symbolic link ever; a filesystem mounted below the root is. What is held in memory is what is
    still to come of the listings of the folders on the way down; no descriptor is open while the caller works, so it
    may stop anywhere. A folder that cannot be read is reported by `on_error(path, error)` (`b""` is the root) and
    comes as UNLISTED, as one that has just vanished does.
    """
    listing = _entered(folder, start, on_error)
    yield [listing[0]]
    levels = [(start + b"/" if start else b"", listing[1])]
    while levels:
        prefix, names = levels[-1]
        if not names:
            levels.pop()
        elif names[-1].endswith(b"/"):
            path = prefix + names.pop()
            if recursive and not skip_dir(path[:-1]):
                mark, below = _entered(folder, path[:-1], on_error)
                yield [mark]
                levels.append((path, below))
        elif piece := _look(folder, prefix, _files(names), on_error):
            yield piece


def _entered(folder: Folder, path: bytes, on_error: Callable[[bytes, OSError], None]) -> tuple[Seen, list[bytes]]:
    """The entry of a folder, and the names in it in reverse order, so that the next is at the end."""
    shown = path + b"/" if path else b""
    names: list[bytes] = []
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # as os.fsencode, at a third
    try:
        fd = folder.open_folder(path)
        try:
            status = os.fstat(fd)
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = entry.name.encode(encoding, errors)
                    names.append(name + b"/" if entry.is_dir(follow_symlinks=False) else name)
        finally:
            os.close(fd)
    except OSError as error:
        if not path or error.errno not in NO_FOLDER_ANY_MORE:
            on_error(path, error)
        return Seen(shown, Kind.UNLISTED, _NOWHERE), []
    names.sort(reverse=True)
    return Seen(shown, Kind.LISTED, Identity(status.st_dev, status.st_ino, 0, 0)), names


def _files(names: list[bytes]) -> list[bytes]:
    """Take the names up to the next folder, PIECE of them at most, off the end."""
    taken = names[: -PIECE - 1 : -1]
    if b"/\0" in b"\0".join(taken) + b"\0":  # most often there is none, and to look at each name takes long
        taken = list(itertools.takewhile(lambda name: not name.endswith(b"/"), taken))
    del names[len(names) - len(taken) :]
    return taken


def _look(folder: Folder, prefix: bytes, names: list[bytes], on_error: Callable[[bytes, OSError], None]) -> list[Entry]:
    """What the names are. Those that vanished meanwhile are left out; what may not be seen ends with UNLISTED."""
    piece: list[Entry] = []
    # Found once: this loop is what a scan costs.
    add, lstat, regular, new = piece.append, os.lstat, stat.S_ISREG, tuple.__new__
    try:
        fd = folder.open_folder(prefix[:-1])
        try:
            for name in names:
                try:
                    status = lstat(name, dir_fd=fd)
                except FileNotFoundError:
                    continue
                mark = f":{status.st_ino}:{status.st_size}:{status.st_mtime_ns}" if regular(status.st_mode) else ""
                add(new(Stated, (prefix + name, mark, status)))
        finally:
            os.close(fd)
    except OSError as error:
        if not prefix or error.errno not in NO_FOLDER_ANY_MORE:
            on_error(prefix[:-1], error)
        piece.append(Seen(prefix, Kind.UNLISTED, _NOWHERE))
    return piece
