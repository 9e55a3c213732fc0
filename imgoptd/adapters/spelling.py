"""On a filesystem that takes `A.JPG` for `a.jpg`, which of the two is the name: the one that the folder lists.

Whether case counts is no property of a kind of filesystem (ext4, XFS and ZFS have it by folder or by mount, FUSE and
SMB by what lies behind), so it is tried: does the same name in the other case lead to the same file? Only then, which
elsewhere happens with hard links alone, the listing is asked.
"""

from __future__ import annotations

import os

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.listings import Listing, Listings
from imgoptd.core.manifest import key


def listed_as(folder: Folder, path: bytes, status: os.stat_result, listings: Listings) -> bytes | None:
    """The path of the file (whose stat is `status`) as the folders list it, if that is another spelling; else None.

    A name in which nothing but case of A to Z could differ is all that is tried; a folder that may not be listed, or
    lists nothing like it, leaves the path as it is. Raises OSError.
    """
    above, slash, name = path.rpartition(b"/")
    other = name.swapcase()
    if other == name or not _same_file(folder, above + slash + other, status):
        return None
    steps = path.split(b"/")
    true: list[bytes] = []
    for step in steps:
        true.append(_listed_step(folder, b"/".join([*true, step]), step, listings))
    found = b"/".join(true)
    return found if found != path else None


def _same_file(folder: Folder, path: bytes, status: os.stat_result) -> bool:
    try:
        pin = folder.pin(path)
    except OSError:
        return False
    try:
        return os.path.samestat(os.fstat(pin), status)
    finally:
        os.close(pin)


def _listed_step(folder: Folder, path: bytes, name: bytes, listings: Listings) -> bytes:
    fd = folder.open_parent(path)
    try:
        listing, current = listings.of(fd, all_names=True)
        listed = _alike(listing, name)
        if listed and name not in listed and not current:
            listed = _alike(listings.of(fd, all_names=True, anew=True)[0], name)  # it may have been renamed since
        return name if name in listed or not listed else listed[0]
    finally:
        os.close(fd)


def _alike(listing: Listing, name: bytes) -> list[bytes]:
    found = (listing.names or {}).get(key(name))
    return found.split(b"/") if found is not None else []
