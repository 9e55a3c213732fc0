"""Does a file belong to others around it: is it named in a checksum manifest, or the JPEG of a raw file beside it?

Manifests count in the file's folder and in each folder above it up to the watched one. They are opened beneath the held
folder, regular files only, read once for each content and held in bounds; one that cannot be read, or not within the
bounds, or is a symbolic link, may name anything at or below its folder.

In a folder that is being filled its listing may be a little old (see `listings`). Then the usual names are asked for
one by one, so that a manifest or a raw file that came a moment ago is not missed for being new.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from imgoptd.adapters.beneath import Folder, pin_at, reopen_for_reading
from imgoptd.adapters.listings import REST, Listing, Listings
from imgoptd.adapters.look import identity_of
from imgoptd.core import companions as say
from imgoptd.core.companions import raw_stem, sidecar_stem, usual_raws
from imgoptd.core.manifest import USUAL_EXTENSIONS, USUAL_NAMES, named, names_in, subject
from imgoptd.core.model import Failure, Identity
from imgoptd.core.text import show_bytes, show_path

MOST_BYTES = 16 << 20
"""Read of all manifests of one folder together: checksums of some 200,000 files."""
MOST_HELD_NAMES = 500_000
"""Held of all folders together; about 150 bytes each."""


@dataclass(frozen=True, slots=True)
class _Manifest:
    identity: Identity
    names: frozenset[str]
    unread: str = ""
    """Why it is not known what it names."""


@dataclass(frozen=True, slots=True)
class _Lists:
    """The manifests of one folder, read."""

    manifests: Mapping[bytes, _Manifest]
    named: Mapping[str, bytes]
    """Key of each listed path, and the manifest that lists it."""
    subjects: Mapping[bytes, bytes]
    """Name of each file that has a manifest of its own, and that manifest."""
    unread: tuple[tuple[bytes, str], ...]
    rests_until_s: float
    """Monotonic: before that nobody looks whether a manifest was written to."""


class Companions:
    """For several threads."""

    def __init__(self, listings: Listings | None = None, *, most_bytes: int = MOST_BYTES, rest: float = REST) -> None:
        """`rest`: as of `Listings`, for reading manifests."""
        self._listings = listings or Listings()
        self._rest = rest
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], _Lists] = OrderedDict()
        self._held = 0

    def leave(self, folder: Folder, path: bytes) -> Failure | None:
        """Why the file at `path` below the watched folder is left alone for the sake of others; None if it is not.

        Raises OSError where a folder on the way cannot be looked at.
        """
        child = path
        while child:
            above = child.rpartition(b"/")[0]
            fd = folder.open_parent(child)
            try:
                failure = self._in_folder(folder, fd, above, path[len(above) :].lstrip(b"/"))
            finally:
                os.close(fd)
            if failure is not None:
                return failure
            child = above
        return None

    def _in_folder(self, folder: Folder, fd: int, above: bytes, below: bytes) -> Failure | None:
        """`above`: the folder behind `fd`, `below`: the file, as seen from there."""
        listing, current = self._listings.of(fd)
        beside = b"/" not in below
        usual = [] if current else [name for name in _usual(below, beside) if _counts(fd, name)]
        if beside:
            raw = _raw_of(below, fd, listing, usual)
            if raw is not None:
                return say.sidecar_of(show_path(raw))
            for name in usual:
                if subject(name) == below:
                    return say.in_manifest(_shown(above, name))
        if any(name in USUAL_NAMES and name not in listing.manifests for name in usual):
            listing, _ = self._listings.of(fd, anew=True)
        if not listing.manifests:
            return None
        lists = self._read(fd, listing.manifests)
        if beside and below in lists.subjects:
            return say.in_manifest(_shown(above, lists.subjects[below]))
        found = named(lists.named, folder.root + b"/" + above, below)
        if found is not None:
            return say.in_manifest(_shown(above, lists.named[found]))
        for name, why in lists.unread:
            return say.beside_unread_manifest(_shown(above, name), why)
        return None

    def _read(self, fd: int, names: tuple[bytes, ...]) -> _Lists:
        status = os.fstat(fd)
        where = (status.st_dev, status.st_ino)
        with self._lock:
            known = self._known.get(where)
        began_s = time.monotonic()
        if known is not None and began_s < known.rests_until_s and tuple(known.manifests) == names:
            return known
        before = known.manifests if known is not None else {}
        manifests: dict[bytes, _Manifest] = {}
        room = self._most_bytes
        for name in names:
            manifest = _manifest(fd, name, before.get(name), room)
            if manifest is not None:
                manifests[name] = manifest
                room -= 0 if manifest.unread else manifest.identity.size
        lists = known if known is not None and known.manifests == manifests else _merged(manifests)
        now_s = time.monotonic()
        lists = replace(lists, rests_until_s=now_s + self._rest * (now_s - began_s))
        with self._lock:
            replaced = self._known.pop(where, None)
            self._held += len(lists.named) - (len(replaced.named) if replaced is not None else 0)
            self._known[where] = lists
            while self._held > MOST_HELD_NAMES and len(self._known) > 1:
                self._held -= len(self._known.popitem(last=False)[1].named)
        return lists


def _merged(manifests: Mapping[bytes, _Manifest]) -> _Lists:
    listed: dict[str, bytes] = {}
    for name, manifest in manifests.items():
        listed.update(dict.fromkeys(manifest.names, name))
    subjects = {about: name for name in manifests if (about := subject(name)) is not None}
    unread = tuple((name, manifest.unread) for name, manifest in manifests.items() if manifest.unread)
    return _Lists(manifests, listed, subjects, unread, 0.0)


def _manifest(folder_fd: int, name: bytes, before: _Manifest | None, room: int) -> _Manifest | None:
    """The manifest, read anew if it is not as it was before; None where no regular file stands there any more."""
    try:
        pin = pin_at(folder_fd, name)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(pin)
        identity = identity_of(status)
        if stat.S_ISLNK(status.st_mode):
            return _Manifest(identity, frozenset(), "is a symbolic link, which is not followed")
        if not stat.S_ISREG(status.st_mode):
            return None
        if before is not None and before.identity == identity and not before.unread:
            return before
        if identity.size > room:
            return _Manifest(identity, frozenset(), f"is too large to be read ({show_bytes(identity.size)})")
        try:
            with os.fdopen(reopen_for_reading(pin), "rb") as file:
                # It may grow while it is read; it has another identity then, and is read again at the next look.
                return _Manifest(identity, names_in(file.read(room)))
        except OSError as error:
            return _Manifest(identity, frozenset(), f"cannot be read ({error.strerror or error})")
    finally:
        os.close(pin)


def _usual(below: bytes, beside: bool) -> list[bytes]:
    """Names of manifests and raw files that would most likely make this file one to leave alone."""
    if not beside:
        return list(USUAL_NAMES)
    return [*USUAL_NAMES, *(below + extension for extension in USUAL_EXTENSIONS), *usual_raws(below)]


def _raw_of(name: bytes, folder_fd: int, listing: Listing, usual: list[bytes]) -> bytes | None:
    """The raw file whose sidecar a file of that name is."""
    stem = sidecar_stem(name)
    if stem is None:
        return None
    listed = listing.raws.get(stem)
    if listed is not None and _is_file(folder_fd, listed):
        return listed
    return next((one for one in usual if raw_stem(one) == stem), None)


def _is_file(folder_fd: int, name: bytes) -> bool:
    return stat.S_ISREG(_mode(folder_fd, name))


def _counts(folder_fd: int, name: bytes) -> bool:
    """Does something stand there that is a manifest or a raw file by its name? A raw file is no link."""
    mode = _mode(folder_fd, name)
    return stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and raw_stem(name) is None)


def _mode(folder_fd: int, name: bytes) -> int:
    """0 where nothing stands there."""
    if not os.access(name, os.F_OK, dir_fd=folder_fd, follow_symlinks=False):  # quicker to say no than an exception
        return 0
    try:
        return os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode
    except OSError:
        return 0


def _shown(above: bytes, name: bytes) -> str:
    return show_path(above + b"/" + name if above else name)
