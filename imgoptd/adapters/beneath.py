"""Opening files beneath a held folder, whatever the folder's owner does to the path meanwhile.

`openat2(2)` resolves a path in the kernel with the promise that it never leaves the folder and never passes a symbolic
link, so no check of ours can be outrun. Files are first *pinned* (an O_PATH descriptor, which neither reads nor
blocks), looked at, and only then opened for reading through the pin: a FIFO or device is never opened, and what was
checked is what is read.
"""

from __future__ import annotations

import ctypes
import errno
import os
from types import TracebackType
from typing import Self

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

_SYS_OPENAT2 = 437  # the same number on every architecture but alpha
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS

_ATTEMPTS = 64
"""openat2 answers EAGAIN when a rename anywhere crosses a `..` lookup, and when a lease must be broken first."""

_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PIN_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    """`struct open_how` of <linux/openat2.h>."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class KernelTooOld(Exception):
    """openat2 is missing (Linux before 5.6) or forbidden (an old container runtime); nothing can be opened safely."""


def open_beneath(folder_fd: int, path: bytes, flags: int) -> int:
    """Open `path` below the folder; the caller owns the descriptor, which is close-on-exec.

    Raises OSError: ELOOP where a symbolic link lies on the way, EXDEV where the path would leave the folder, EINVAL for
    a name that no file can have, and whatever else the kernel says. Raises KernelTooOld for ENOSYS.
    """
    if b"\0" in path:
        raise OSError(errno.EINVAL, "a file name cannot hold a NUL byte")
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
    attempts = 0
    while True:
        fd = _LIBC.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(folder_fd),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        attempts += 1
        if code == errno.ENOSYS:
            raise KernelTooOld("this kernel has no openat2; Linux 5.6 or newer is needed")
        if code not in (errno.EAGAIN, errno.EINTR) or attempts >= _ATTEMPTS:
            raise OSError(code, os.strerror(code), path)


def split(path: bytes) -> tuple[bytes, bytes]:
    """The folder part (`.` for none) and the name of a relative path. Raises OSError EINVAL where there is no name."""
    parent, _, name = path.rpartition(b"/")
    if name in (b"", b".", b"..") or path.startswith(b"/"):
        raise OSError(errno.EINVAL, "not the path of a file below a folder", path)
    return parent or b".", name


def pin_at(parent_fd: int, name: bytes) -> int:
    """An O_PATH descriptor of what stands at `name` in the folder: of a symbolic link, the link itself."""
    return open_beneath(parent_fd, name, _PIN_FLAGS)


def reopen_for_reading(pin_fd: int) -> int:
    """A read-only descriptor of the very file behind a descriptor; its access time stays as it is where we may ask so.

    The caller has made sure that it is a regular file (anything else might block, or act, when opened).
    """
    name = b"/proc/self/fd/%d" % pin_fd
    try:
        return os.open(name, _READ_FLAGS | os.O_NOATIME)
    except PermissionError:
        # O_NOATIME is for the file's owner and CAP_FOWNER alone (EPERM); a file we may not read at all fails again.
        return os.open(name, _READ_FLAGS)


class Folder:
    """A held watched folder: it stays the same folder even when it is renamed or something is mounted over it.

    The methods may be called from several threads. `close` may not run beside them: the number of a closed descriptor
    is soon that of another file. Dropping the last reference closes it, which is safe whoever was using it.
    """

    _fd = -1

    def __init__(self, root: bytes, base: bytes = b"") -> None:
        """Hold the folder at `root` (links in the root's own path are the operator's choice and are followed).

        `base` is a beginning of that path after which the choice is others': no link is followed from there on. Raises
        OSError where it is no folder or may not be passed, or for such a link (ELOOP), KernelTooOld where nothing could
        be opened beneath.
        """
        self.root = root
        self._fd = os.open(base or root, _FOLDER_FLAGS)
        if base:
            self._descend(root[len(base) :].strip(b"/"))
        try:
            status = os.fstat(self._fd)
            os.close(self._probe())
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise
        self.identity = (status.st_dev, status.st_ino)
        """(st_dev, st_ino) when it was opened."""

    def _descend(self, path: bytes) -> None:
        above, self._fd = self._fd, -1
        try:
            self._fd = open_beneath(above, path or b".", _FOLDER_FLAGS)
        finally:
            os.close(above)

    def _probe(self) -> int:
        try:
            return open_beneath(self._fd, b".", _FOLDER_FLAGS)
        except PermissionError as error:
            if error.errno == errno.EACCES:
                raise  # we may not search the folder
            # EPERM is no answer of a filesystem here: it comes from a syscall filter that predates openat2.
            raise KernelTooOld("openat2 is forbidden here (an old container runtime?); allow it") from error

    def open_parent(self, path: bytes) -> int:
        """An O_PATH descriptor of the folder that holds `path`. Raises OSError as `open_beneath`."""
        return open_beneath(self._fd, split(path)[0], _FOLDER_FLAGS)

    def pin_folder(self, path: bytes) -> int:
        """An O_PATH descriptor of the folder at `path` (empty: the root itself). Raises OSError as `open_beneath`."""
        return open_beneath(self._fd, path or b".", _FOLDER_FLAGS)

    def open_folder(self, path: bytes) -> int:
        """A descriptor of the folder at `path` (empty: the root itself) that can be listed."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            return open_beneath(self._fd, path or b".", flags | os.O_NOATIME)
        except PermissionError:
            return open_beneath(self._fd, path or b".", flags)

    def pin(self, path: bytes) -> int:
        """An O_PATH descriptor of what stands at `path`, whatever it is. Raises OSError as `open_beneath`."""
        split(path)
        return pin_at(self._fd, path)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
