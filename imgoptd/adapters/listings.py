"""What else lies in a file's folder, known without listing the folder for each file.

A folder is listed anew when it changed, but never for more than a twentieth of the time: a folder of 100,000 files into
which others are written is not listed 100,000 times. Whoever gets a listing is told whether it is surely true now.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from imgoptd.core.companions import raw_stem
from imgoptd.core.manifest import is_manifest, key

REST = 20
"""A listing that took so long is good for so many times as long."""
SETTLED_NS = 2_000_000_000
"""A folder that changed less than this before it was listed may change once more and show the same time: the kernel
stamps by ticks, FAT by two seconds."""
MOST_NAMES = 500_000
"""Held of all folders together; about 200 bytes each."""


@dataclass(frozen=True, slots=True)
class Listing:
    mtime_ns: int
    rests_until_s: float
    """Monotonic: before that the folder is not listed again."""
    settled: bool
    """The folder had been still for long enough: as long as it shows the same time, it holds the same names."""
    manifests: tuple[bytes, ...]
    """Names of checksum manifests, regular files and symbolic links, sorted."""
    raws: Mapping[bytes, bytes]
    """Stem and name of each raw file."""
    names: Mapping[str, bytes] | None
    """Every name by its `key`, where it was asked for; names of one key, which only an ordinary filesystem can hold,
    with a slash between.
    """

    @property
    def weight(self) -> int:
        return 1 + len(self.manifests) + len(self.raws) + len(self.names or ())


class Listings:
    """The listings of many folders, for several threads. The oldest are forgotten."""

    def __init__(self, rest: float = REST) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], Listing] = OrderedDict()
        self._names = 0
        self.listed = 0
        """How often a folder was really listed."""

    def of(self, folder_fd: int, *, all_names: bool = False, anew: bool = False) -> tuple[Listing, bool]:
        """The listing of the folder behind a descriptor (O_PATH will do), and whether it is surely true now.

        With `anew` it is. A folder that may not be listed shows nothing. Raises OSError for any other trouble.
        """
        status = os.fstat(folder_fd)
        folder = (status.st_dev, status.st_ino)
        with self._lock:
            known = self._known.get(folder)
            if known is not None:
                self._known.move_to_end(folder)
        if known is not None and not anew and (known.names is not None or not all_names):
            current = known.settled and known.mtime_ns == status.st_mtime_ns
            if current or time.monotonic() < known.rests_until_s:
                return known, current
        fresh = self._list(folder_fd, status.st_mtime_ns, all_names or (known is not None and known.names is not None))
        with self._lock:
            self.listed += 1
            replaced = self._known.pop(folder, None)
            self._names += fresh.weight - (replaced.weight if replaced is not None else 0)
            self._known[folder] = fresh
            while self._names > MOST_NAMES and len(self._known) > 1:
                self._names -= self._known.popitem(last=False)[1].weight
        return fresh, True

    def _list(self, folder_fd: int, mtime_ns: int, all_names: bool) -> Listing:
        began_s = time.monotonic()
        settled = time.time_ns() - mtime_ns > SETTLED_NS
        manifests: list[bytes] = []
        raws: dict[bytes, bytes] = {}
        names: dict[str, bytes] = {}
        for name, is_file, is_link in _entries(folder_fd):
            if all_names:
                wanted = key(name)
                names[wanted] = names[wanted] + b"/" + name if wanted in names else name
            stem = raw_stem(name)
            if stem is not None:
                if is_file:
                    raws[stem] = name
            elif (is_file or is_link) and is_manifest(name):
                manifests.append(name)
        now_s = time.monotonic()
        rests_until_s = now_s + self._rest * (now_s - began_s)
        return Listing(mtime_ns, rests_until_s, settled, tuple(sorted(manifests)), raws, names if all_names else None)


def _entries(folder_fd: int) -> list[tuple[bytes, bool, bool]]:
    """Each name, whether it is a regular file's, and whether a symbolic link's. Raises OSError."""
    try:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return []
        raise
    try:
        with os.scandir(fd) as entries:
            return [
                (os.fsencode(entry.name), entry.is_file(follow_symlinks=False), entry.is_symlink()) for entry in entries
            ]
    finally:
        os.close(fd)
