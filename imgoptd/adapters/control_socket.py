"""The control socket's file: made so that nobody else can answer at its path, or ask before it is private."""

from __future__ import annotations

import errno
import os
import socket
import stat

from imgoptd.core.text import show_path

_NAME_BYTES = 80
"""Longest name of the socket file: with `/proc/self/fd/N/` before it, it still fits the 107 bytes of a sockaddr_un."""


class ControlSocketError(Exception):
    """The socket cannot be made; the text says why and what to do."""


def listen(path: bytes, mode: int = 0o600) -> socket.socket:
    """A listening stream socket at `path`, non-blocking, with `mode`.

    A socket file that nobody listens at is replaced; a missing parent folder is made with mode 0755. Raises
    ControlSocketError when another process answers there, the path is something else, or the folder cannot be written.
    """
    folder, name = os.path.split(path)
    if not 0 < len(name) <= _NAME_BYTES:
        raise ControlSocketError(f"{show_path(path)}: the control socket's name must have 1 to {_NAME_BYTES} bytes")
    try:
        if not os.path.lexists(folder or b"."):
            os.makedirs(folder, 0o755, exist_ok=True)
        folder_fd = os.open(folder or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ControlSocketError(_sentence(path, error)) from error
    try:
        _refuse_if_taken(path, folder_fd, name)
        return _place(folder_fd, name, mode)
    except OSError as error:
        raise ControlSocketError(_sentence(path, error)) from error
    finally:
        os.close(folder_fd)


def remove(path: bytes, inode: tuple[int, int]) -> None:
    """Remove the socket file if it is still the one with this (device, inode)."""
    try:
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == inode:
            os.unlink(path)
    except OSError:  # gone already, or its folder is: nothing is left to remove
        pass


def inode_of(path: bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def address(folder_fd: int, name: bytes) -> bytes:
    """An address for `name` in the folder that fits a sockaddr_un however deep the folder lies."""
    return b"/proc/self/fd/%d/%s" % (folder_fd, name)


def _refuse_if_taken(path: bytes, folder_fd: int, name: bytes) -> None:
    try:
        status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    shown = show_path(path)
    if not stat.S_ISSOCK(status.st_mode):
        raise ControlSocketError(
            f"{shown} is there and is no socket; remove it or set [daemon] control to another path"
        )
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    with probe:
        answer = probe.connect_ex(address(folder_fd, name))
    if answer in (0, errno.EAGAIN):  # EAGAIN: someone listens, with a full queue
        raise ControlSocketError(f"another imgoptd answers at {shown}; stop it or set [daemon] control to another path")
    if answer not in (errno.ECONNREFUSED, errno.ENOENT):
        raise ControlSocketError(_sentence(path, OSError(answer, os.strerror(answer))))


def _place(folder_fd: int, name: bytes, mode: int) -> socket.socket:
    # Bound under another name and moved into place when it is private and listens: at no moment can anyone connect to
    # a socket with wider rights, or find the path empty while an old socket is replaced.
    temporary = b".%d.ctl" % os.getpid()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _unlink_quietly(temporary, folder_fd)  # of a process with our pid that was killed right here
        listener.bind(address(folder_fd, temporary))
        os.chmod(temporary, mode, dir_fd=folder_fd)
        listener.listen(64)
        os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except BaseException:
        listener.close()
        _unlink_quietly(temporary, folder_fd)
        raise
    return listener


def _unlink_quietly(name: bytes, folder_fd: int) -> None:
    try:
        os.unlink(name, dir_fd=folder_fd)
    except FileNotFoundError:
        pass


def _sentence(path: bytes, error: OSError) -> str:
    shown = show_path(path)
    return f"{shown}: the control socket cannot be made: {error.strerror}; set [daemon] control to a path you may write"
