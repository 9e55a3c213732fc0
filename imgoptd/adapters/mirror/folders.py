"""Folders of an output tree: made where they are missing, like those of the originals."""

from __future__ import annotations

import errno
import os
import stat

from imgoptd.adapters import failpoints
from imgoptd.adapters.beneath import Folder, open_beneath
from imgoptd.adapters.replace.names import sync_folder

_PIN = os.O_PATH | os.O_DIRECTORY
_LIST = os.O_RDONLY | os.O_DIRECTORY
_OURS = stat.S_IRWXU
_NEW = _OURS | stat.S_ISVTX
"""As we make folders, and nobody else does."""
_ACCESS_LIST = "system.posix_acl_access"


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
    made = False
    try:
        fd = open_beneath(parent_fd, name, _PIN)
    except FileNotFoundError:
        try:
            os.mkdir(name, _NEW, dir_fd=parent_fd)
            made = True
        except FileExistsError:
            pass  # another file of the same folder was faster
        failpoints.hit("mirror.after_mkdir")
        fd = open_beneath(parent_fd, name, _PIN)
    try:
        if _is_new(fd, made):
            _adorn_new(fd, parent_fd, source, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_new(fd: int, made: bool) -> bool:
    """Is it just as we make folders: `made` now, left by a crash, or by another thread that is at it?"""
    status = os.fstat(fd)
    mode = stat.S_IMODE(status.st_mode) & ~stat.S_ISGID  # one made in a folder with that bit has it, too
    if made:
        mode |= stat.S_ISVTX  # not every filesystem keeps it
    return status.st_uid == os.geteuid() and mode == _NEW


def _adorn_new(fd: int, parent_fd: int, source: Folder, path: bytes) -> None:
    """Give a folder that we made, if it is empty, what the one beside the original has.

    It is on disk then, and so is its name.
    """
    listed = open_beneath(fd, b".", _LIST)
    try:
        with os.scandir(listed) as entries:
            if next(entries, None) is not None:
                return
        pin = source.pin_folder(path)
        try:
            give_rights(listed, pin)
        finally:
            os.close(pin)
        sync_folder(listed)
    finally:
        os.close(listed)
    sync_folder(parent_fd)


def give_rights(fd: int, like: int) -> None:
    """Give the folder behind `fd` owner, group, mode and access list of that behind `like`, with u+rwx besides.

    Where this process may not give the owner, the folder stays ours; where it may not give the group or the list
    either, its group gets no rights: nobody may do here what he may not do beside the original. `like` may be opened by
    O_PATH. Raises OSError.
    """
    wanted = os.fstat(like)
    mode = stat.S_IMODE(wanted.st_mode) | _OURS
    closed = mode & ~(stat.S_IRWXG | stat.S_ISGID)
    if not _give_access_list(fd, like):
        mode = closed
    try:
        os.fchown(fd, wanted.st_uid, wanted.st_gid)
    except PermissionError:
        try:
            os.fchown(fd, -1, wanted.st_gid)
        except PermissionError:
            mode = closed
        mode &= ~stat.S_ISUID
    os.fchmod(fd, mode)


def _give_access_list(fd: int, like: int) -> bool:
    """False: there is one, and it cannot be given. With one, the mode of the folder tells its mask, not its group."""
    try:
        access = os.getxattr(b"/proc/self/fd/%d" % like, _ACCESS_LIST)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS):
            return True
        raise
    try:
        os.setxattr(fd, _ACCESS_LIST, access)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES):
            raise
        return False
    return True
