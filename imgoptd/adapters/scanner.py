"""Walking a watched folder: every path below it, in order, with one descriptor open at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from imgoptd.adapters.beneath import Folder

_NO_FOLDER_ANY_MORE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})
"""It vanished, or became a file or a link, since its parent was listed: no error, the next scan sees what is."""


def scan(
    folder: Folder,
    recursive: bool,
    skip_dir: Callable[[bytes], bool],
    on_error: Callable[[bytes, OSError], None],
    start: bytes = b"",
) -> Iterator[bytes]:
    """Yield the relative path of everything below `folder` that is no folder: files, links, FIFOs and so on.

    With `start` only what lies below that folder of it is walked; paths stay relative to `folder`.

    Of each folder its files come first, then its folders depth first, both sorted by name (bytes). A folder for which
    `skip_dir(path)` is true is not entered, nor is a symbolic link ever; a filesystem mounted below the root is. What
    is held in memory is the listing of the folders on the way down; no descriptor is open while the caller works, so it
    may stop anywhere. A folder that cannot be read is reported by `on_error(path, error)` (`b""` is the root) and left
    out.
    """
    pending = [start]
    while pending:
        path = pending.pop()
        try:
            files, folders = _list(folder, path)
        except OSError as error:
            if not path or error.errno not in _NO_FOLDER_ANY_MORE:
                on_error(path, error)
            continue
        prefix = path + b"/" if path else b""
        for name in files:
            yield prefix + name
        if recursive:
            below = (prefix + name for name in folders)
            pending.extend(reversed([child for child in below if not skip_dir(child)]))


def _list(folder: Folder, path: bytes) -> tuple[list[bytes], list[bytes]]:
    """The names of the non-folders and of the folders in the folder at `path`, each sorted. Raises OSError."""
    files: list[bytes] = []
    folders: list[bytes] = []
    fd = folder.open_folder(path)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                target = folders if entry.is_dir(follow_symlinks=False) else files
                target.append(os.fsencode(entry.name))
    finally:
        os.close(fd)
    files.sort()
    folders.sort()
    return files, folders
