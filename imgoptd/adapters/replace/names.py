"""Two names, mostly in one folder, moved by renameat2(2) so that nothing is ever overwritten."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from dataclasses import dataclass

from imgoptd.adapters.beneath import pin_at

_LIBC = ctypes.CDLL(None, use_errno=True)
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What a filesystem without these flags answers (FUSE and NFS: EINVAL)."""

_KEPT_NAME_BYTES = 200
"""How much of a name a kept file's name repeats: its end, with the extension; NAME_MAX is 255."""
_ROUNDS = 100


def new_temp_name() -> bytes:
    """A hidden name that nobody else chooses: `.imgoptd-` + 16 hex digits + `.tmp`."""
    return b".imgoptd-" + secrets.token_hex(8).encode() + b".tmp"


@dataclass(frozen=True, slots=True)
class Names:
    """The temp and the file's own name, in the folder behind `parent_fd` (which the holder of this keeps open)."""

    parent_fd: int
    temp: bytes
    name: bytes
    temp_fd: int = -1
    """Of the temp's folder, where that is another one of the same filesystem."""

    def exchange(self) -> None:
        """Swap what the two names stand for, atomically. Raises OSError: ENOENT where either is missing."""
        rename(self._temp_folder, self.temp, self.parent_fd, self.name, _RENAME_EXCHANGE)

    def temp_into_gap(self) -> None:
        """Give the temp the file's name, if nothing has it. Raises OSError: EEXIST where something has."""
        rename(self._temp_folder, self.temp, self.parent_fd, self.name, _RENAME_NOREPLACE)

    def exchange_or_fill(self) -> bool:
        """Exchange the names; True. Or, nothing having the file's name, give it to the temp; False.

        Raises OSError: ENOENT where the temp is gone, EBUSY where the path appears and vanishes without end.
        """
        for _ in range(_ROUNDS):
            try:
                self.exchange()
                return True
            except FileNotFoundError:
                pass
            try:
                self.temp_into_gap()
                return False
            except FileExistsError:
                continue  # somebody filled the gap first: exchange with that
        raise OSError(errno.EBUSY, "the path appears and vanishes without end")

    def keep_temp(self) -> bytes:
        """Give the temp a visible name that nothing has, and return that. Raises OSError."""
        kept = b"imgoptd-kept-" + secrets.token_hex(4).encode() + b"-" + self.name[-_KEPT_NAME_BYTES:]
        try:
            rename(self._temp_folder, self.temp, self.parent_fd, kept, _RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            # No flags on this filesystem. The name is random: nothing can have it.
            os.rename(self.temp, kept, src_dir_fd=self._temp_folder, dst_dir_fd=self.parent_fd)
        return kept

    def move_temp(self, folder_fd: int, name: bytes) -> None:
        """Move the temp into another folder, where nothing has that name. Raises OSError: EXDEV, ENOENT, EEXIST."""
        try:
            rename(self._temp_folder, self.temp, folder_fd, name, _RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            os.rename(self.temp, name, src_dir_fd=self._temp_folder, dst_dir_fd=folder_fd)  # a random name, as above

    def temp_over_name(self) -> None:
        """Plain rename(2): the temp takes the file's name, and whatever had it is gone. Raises OSError."""
        os.rename(self.temp, self.name, src_dir_fd=self._temp_folder, dst_dir_fd=self.parent_fd)

    def remove_temp(self) -> None:
        """Unlink the temp. The caller has proved that what it names may be lost. Raises OSError."""
        os.unlink(self.temp, dir_fd=self._temp_folder)

    def pin_temp(self) -> int | None:
        """An O_PATH descriptor of what the temp names; None if nothing. Raises OSError."""
        return pin_or_none(self._temp_folder, self.temp)

    def has_temp(self) -> bool:
        """Does the temp's name stand for anything? Raises OSError."""
        pin = self.pin_temp()
        if pin is not None:
            os.close(pin)
        return pin is not None

    def pin_name(self) -> int | None:
        """An O_PATH descriptor of what the file's name names; None if nothing. Raises OSError."""
        return pin_or_none(self.parent_fd, self.name)

    def sync_folder(self) -> None:
        """Make the names durable, the file's own first. Raises OSError."""
        sync_folder(self.parent_fd)
        if self.temp_fd >= 0:
            sync_folder(self.temp_fd)

    @property
    def _temp_folder(self) -> int:
        return self.temp_fd if self.temp_fd >= 0 else self.parent_fd


def sync_folder(folder_fd: int) -> None:
    """Make the names in the folder durable; a descriptor by O_PATH will do. Raises OSError."""
    try:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder_fd)
    except PermissionError:
        # A folder that may be written to but not listed: there is no descriptor of it to sync.
        os.sync()
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a filesystem that cannot sync folders
            raise
    finally:
        os.close(fd)


def pin_or_none(folder_fd: int, name: bytes) -> int | None:
    """An O_PATH descriptor of what stands at `name` in the folder; None if nothing. Raises OSError."""
    try:
        return pin_at(folder_fd, name)
    except FileNotFoundError:
        return None


def rename(old_fd: int, old: bytes, new_fd: int, new: bytes, flag: int) -> None:
    """renameat2(2) between two folders. Raises OSError."""
    if _LIBC.renameat2(old_fd, old, new_fd, new, flag) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), old, None, new)


def same_file(first_fd: int, second_fd: int) -> bool:
    """Do two descriptors stand for one inode?"""
    return os.path.samestat(os.fstat(first_fd), os.fstat(second_fd))
