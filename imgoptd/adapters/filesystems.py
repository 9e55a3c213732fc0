"""Which kind of filesystem a folder lies on, and what may be expected of it: the one table of statfs(2) types.

`fsinfo` asks these of one descriptor for the daemon, `--check` shows them to a person.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from dataclasses import dataclass

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Filesystem:
    name: str
    """As mount(8) calls it, or the type number in hex."""
    remote: bool = False
    """Changes may come from another machine (or through FUSE), unheard by inotify."""
    pseudo: bool = False
    """No files of anybody: the kernel's own state (proc, sysfs and the like)."""
    tells_closes: bool = False
    """Every close after writing is reported to watchers."""
    keeps_order: bool = False
    """Changes of names reach the disk in the order in which they were made (a journal, copy on write, no disk)."""


# The numbers are those of statfs(2) and <linux/magic.h>.
_TRUSTED = {
    0xEF53: "ext4",  # ext2 and ext3 share the number
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlay",
}
_ORDERED = {
    0xF2F52010: "f2fs",
    0x2FC12FC1: "zfs",
}
_OTHERS = {
    0xCA451A4E: "bcachefs",
    0x4D44: "vfat",
    0x2011BAB0: "exfat",
    0x7366746E: "ntfs",
    0x858458F6: "ramfs",
    0x9660: "iso9660",
    0x73717368: "squashfs",
    0xF15F: "ecryptfs",
}
_REMOTE = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x6B414653: "kafs",
    0x73757245: "coda",
    0x01161970: "gfs2",
    0x7461636F: "ocfs2",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x20030528: "orangefs",
    0x786F4256: "vboxsf",
    0xBACBACBC: "vmhgfs",
}
_PSEUDO = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x0027E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0xF97CFF8C: "selinuxfs",
    0x1CD1: "devpts",
    0xCAFE4A11: "bpf",
    0x6165676C: "pstore",
    0x62656570: "configfs",
    0x65735543: "fusectl",
    0x42494E4D: "binfmt_misc",
    0x19800202: "mqueue",
    0xDE5E81E4: "efivarfs",
    0x6E736673: "nsfs",
}
_KNOWN = {kind: Filesystem(name, tells_closes=True, keeps_order=True) for kind, name in _TRUSTED.items()}
_KNOWN |= {kind: Filesystem(name, keeps_order=True) for kind, name in _ORDERED.items()}
_KNOWN |= {kind: Filesystem(name) for kind, name in _OTHERS.items()}
_KNOWN |= {kind: Filesystem(name, remote=True) for kind, name in _REMOTE.items()}
_KNOWN |= {kind: Filesystem(name, pseudo=True) for kind, name in _PSEUDO.items()}


def filesystem_of(path: bytes) -> Filesystem:
    """The filesystem that `path` lies on (symlinks followed). Raises OSError."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return filesystem_behind(fd)
    finally:
        os.close(fd)


def filesystem_behind(fd: int) -> Filesystem:
    """The filesystem of what a descriptor names. Raises OSError."""
    kind = magic_of(fd)
    return _KNOWN.get(kind) or Filesystem(f"0x{kind:x}")


def magic_of(fd: int) -> int:
    """The filesystem's type number (`f_type` of fstatfs). Raises OSError."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs takes 120 bytes at most; f_type is its first word
    if _LIBC.fstatfs(ctypes.c_int(fd), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int.from_bytes(buffer.raw[: struct.calcsize("l")], sys.byteorder) & 0xFFFFFFFF
