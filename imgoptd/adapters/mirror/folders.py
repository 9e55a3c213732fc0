"""Folders of an output tree: made where they are missing, like those of the originals."""

from __future__ import annotations

import os
import stat

from imgoptd.adapters import failpoints
from imgoptd.adapters.beneath import Folder, open_beneath
from imgoptd.adapters.replace.names import sync_folder

_PIN = os.O_PATH | os.O_DIRECTORY
_LIST = os.O_RDONLY | os.O_DIRECTORY
_OURS = stat.S_IRWXU


def open_parent(output: Folder, source: Folder, path: bytes) -> int:
    """An O_PATH descriptor of the folder of the output tree that holds `path`; missing ones are made.

    A folder that is made gets owner, group and mode of the one beside the original, with u+rwx besides, and is on disk
    when this returns. Each step is taken beneath the one before, never through a symbolic link. Raises OSError: ELOOP
    and ENOTDIR where something else stands in the way.
    """
    parts = path.split(b"/")[:-1]
    fd = output.pin_folder(b"")
    for depth, name in enumerate(parts, 1):
        try:
            below = _enter(fd, name, source, b"/".join(parts[:depth]))
        finally:
            os.close(fd)
        fd = below
    return fd


def _enter(parent_fd: int, name: bytes, source: Folder, path: bytes) -> int:
    try:
        fd = open_beneath(parent_fd, name, _PIN)
    except FileNotFoundError:
        try:
            os.mkdir(name, _OURS, dir_fd=parent_fd)
        except FileExistsError:
            pass  # another file of the same folder was faster
        failpoints.hit("mirror.after_mkdir")
        fd = open_beneath(parent_fd, name, _PIN)
    try:
        _adorn_new(fd, parent_fd, source, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _adorn_new(fd: int, parent_fd: int, source: Folder, path: bytes) -> None:
    """Give a folder that is just as we make them (ours, for us alone, empty) what the one beside the original has.

    So is one that a crash left before this. It is on disk then, and so is its name.
    """
    status = os.fstat(fd)
    # A folder made in one with the setgid bit has that, too.
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & ~stat.S_ISGID != _OURS:
        return
    listed = open_beneath(fd, b".", _LIST)
    try:
        with os.scandir(listed) as entries:
            if next(entries, None) is not None:
                return
        pin = source.pin_folder(path)
        try:
            give_rights(listed, os.fstat(pin))
        finally:
            os.close(pin)
        sync_folder(listed)
    finally:
        os.close(listed)
    sync_folder(parent_fd)


def give_rights(fd: int, wanted: os.stat_result) -> None:
    """Give the folder behind `fd` owner, group and mode of `wanted`, with u+rwx besides.

    Where this process may not give the owner, the folder stays ours; where it may not give the group either, its group
    gets no rights: nobody may do here what he may not do beside the original. Raises OSError.
    """
    mode = stat.S_IMODE(wanted.st_mode) | _OURS
    try:
        os.fchown(fd, wanted.st_uid, wanted.st_gid)
    except PermissionError:
        try:
            os.fchown(fd, -1, wanted.st_gid)
        except PermissionError:
            mode &= ~(stat.S_IRWXG | stat.S_ISGID)
        mode &= ~stat.S_ISUID
    os.fchmod(fd, mode)
