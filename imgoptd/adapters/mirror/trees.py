"""The root of an output tree: held, or made, also where it lies in a folder whose users may rename things around it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence

from imgoptd.adapters.beneath import Folder, open_beneath
from imgoptd.adapters.mirror.folders import give_rights
from imgoptd.core.text import show_path

_NEW = 0o700


def open_tree(root: bytes, watched: Sequence[bytes]) -> Folder:
    """Hold the tree at `root`. What lies in one of the watched folders is reached without following symbolic links:
    who may write there could lead us anywhere else by them.

    Raises OSError, with a sentence that says what to do where such a link is met, and KernelTooOld.
    """
    base = _base(root, watched)
    try:
        return Folder(root, base)
    except OSError as error:
        if base and error.errno == errno.ELOOP:
            raise _link_on_the_way(root, base) from error
        raise


def make_tree(root: bytes, watched: Sequence[bytes], like: bytes) -> None:
    """Make the folder `root`, with the rights of the folder at `like`; its parent is there. Raises OSError."""
    parent, _, name = root.rpartition(b"/")
    with Folder(like) as model, open_tree(parent or b"/", watched) as above:  # first: without a model nothing is made
        parent_fd = above.pin_folder(b"")
        try:
            os.mkdir(name, _NEW, dir_fd=parent_fd)
            fd = open_beneath(parent_fd, name, os.O_RDONLY | os.O_DIRECTORY)
        finally:
            os.close(parent_fd)
        try:
            pin = model.pin_folder(b"")
            try:
                give_rights(fd, pin)
            finally:
                os.close(pin)
        finally:
            os.close(fd)


def is_empty(tree: Folder) -> bool:
    fd = tree.open_folder(b"")
    try:
        with os.scandir(fd) as entries:
            return next(entries, None) is None
    finally:
        os.close(fd)


def _base(root: bytes, watched: Sequence[bytes]) -> bytes:
    """The beginning of the path that first leads into a watched folder; empty: none does."""
    folders = [os.path.realpath(path) for path in watched]
    for beginning in _beginnings(root):
        real = os.path.realpath(beginning)
        if any(real == folder or real.startswith(folder.rstrip(b"/") + b"/") for folder in folders):
            return beginning
    return b""


def _beginnings(path: bytes) -> Iterator[bytes]:
    """The folders above the absolute path from the top, and itself."""
    for end, byte in enumerate(path[1:], 1):
        if byte == ord("/"):
            yield path[:end]
    yield path


def _link_on_the_way(root: bytes, base: bytes) -> OSError:
    at = base
    for name in root[len(base) :].strip(b"/").split(b"/"):
        at += b"/" + name
        try:
            if stat.S_ISLNK(os.lstat(at).st_mode):
                break
        except OSError:
            break
    said = f"{show_path(at)} is a symbolic link, and in a watched folder none is followed: put the folder there itself"
    return OSError(errno.ELOOP, said)
