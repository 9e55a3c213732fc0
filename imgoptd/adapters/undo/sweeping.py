"""Removing a kept original, and nothing else that may lie under its name."""

from __future__ import annotations

import os

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.replace.keeping import find_kept, same
from imgoptd.adapters.replace.names import sync_folder
from imgoptd.adapters.replace.places import NotOurs, open_place, open_state_place
from imgoptd.core.model import Kept


def open_place_of(folder: Folder | None, kept: Kept, state_dir: bytes) -> int:
    """A descriptor of the folder in which it lies; the caller owns it. Raises OSError; `folder` is the watched one."""
    if kept.at.place is None:
        return open_state_place(state_dir)
    if folder is None:
        raise FileNotFoundError(f"the watched folder {kept.ref.root!r} is out of reach")
    return open_place(folder, kept.at.place)


def perhaps_elsewhere(folder: Folder | None, kept: Kept) -> bool:
    """Its place is missing: may that be because the disk it lies on is not mounted just now?"""
    return kept.at.place is not None and (folder is None or folder.identity[0] != kept.identity.dev)


def remove_kept(folder: Folder | None, kept: Kept, state_dir: bytes) -> str:
    """Remove the kept original. Empty when it is gone; else why it was left: it is not the file that was kept.

    Raises OSError where that cannot be told or done now.
    """
    try:
        undo_fd = open_place_of(folder, kept, state_dir)
    except NotOurs as error:
        return error.strerror or str(error)
    except (FileNotFoundError, NotADirectoryError):
        if perhaps_elsewhere(folder, kept):
            raise
        return ""
    try:
        found = find_kept(undo_fd, kept.at.name)
        if found is None:
            return ""
        os.close(found[0])
        if not same(found[1], kept.identity):
            return "it is not the file that was kept, or was written to since"
        os.unlink(kept.at.name, dir_fd=undo_fd)
        sync_folder(undo_fd)
        return ""
    finally:
        os.close(undo_fd)
