"""Giving a result all that is not content of the original: owner, mode, ACL, extended attributes, times, flags.

What cannot be given: the time of birth and of the last status change (no call sets them), other names of a hard-linked
file, `trusted.*` attributes where this process may not see them, and what the kernel computes anew (`security.ima`,
`security.evm`: bound to content and inode).
"""

from __future__ import annotations

import errno
import os
import stat

from imgoptd.adapters import fsinfo
from imgoptd.adapters.replace.failures import ReplaceError, failure_of, transient

_CAP_CHOWN = 0
_CAP_FOWNER = 3

_COMPUTED = frozenset({"security.ima", "security.evm"})
_AFTER_OWNER = frozenset({"security.capability"})
"""A change of owner removes these (capabilities(7)), so they are written after it."""

NOT_KEPT = "metadata-not-kept"


def can_keep_owner(original: os.stat_result) -> bool:
    """May this process give a new file the owner, group and mode of `original`?

    chown(2): the group may be one of ours; anything else needs CAP_CHOWN, and setting the mode and times of a file that
    then is another's needs CAP_FOWNER.
    """
    own_user = original.st_uid == os.geteuid()
    own_group = original.st_gid == os.getegid() or original.st_gid in os.getgroups()
    if own_user and own_group:
        return True
    capabilities = _effective_capabilities()
    return bool(capabilities >> _CAP_CHOWN & 1) and (own_user or bool(capabilities >> _CAP_FOWNER & 1))


def copy_attributes(source_fd: int, target_fd: int, original: os.stat_result) -> None:
    """Make the target's attributes those of the source, whose stat (taken before it was read) is `original`.

    Raises ReplaceError, TRANSIENT: `no-space`, `read-only-filesystem`, or `metadata-not-kept` with what could not be
    given; the target is then of no use.
    """
    try:
        # While the target is still ours and writable: user.* and ACLs need that. This also removes what the target
        # inherited from its folder (a default ACL) or a worker put there, before the mode is set through the ACL mask.
        wanted = _read_xattrs(source_fd)
        _write_xattrs(target_fd, wanted)
        os.fchown(target_fd, original.st_uid, original.st_gid)
        for name in _AFTER_OWNER & wanted.keys():
            os.setxattr(target_fd, name, wanted[name])
        os.fchmod(target_fd, stat.S_IMODE(original.st_mode))  # after the owner: chown clears suid and sgid
        fsinfo.copy_harmless_flags(source_fd, target_fd)
        os.utime(target_fd, ns=(original.st_atime_ns, original.st_mtime_ns))
    except OSError as error:
        what = "the original's owner, mode, attributes or times could not be given to the result"
        raise ReplaceError(failure_of(error, what, NOT_KEPT, NOT_KEPT)) from error
    _verify(target_fd, original)


def same_attributes(one_fd: int, other_fd: int) -> bool:
    """Do both files have the same owner, group, mode and extended attributes, ACL included? Raises OSError.

    Labels of SELinux are left out: a relabelling changes them, and no user.
    """
    one, other = os.fstat(one_fd), os.fstat(other_fd)
    if (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid):
        return False
    present, wanted = _read_xattrs(one_fd), _read_xattrs(other_fd)
    return all(
        present.get(name) == wanted.get(name) for name in (present.keys() | wanted.keys()) - {"security.selinux"}
    )


def _verify(target_fd: int, original: os.stat_result) -> None:
    """The kernel drops some bits without an error (setgid without CAP_FSETID), so look at what came of it."""
    result = os.fstat(target_fd)
    for what, old, new in (
        ("owner", original.st_uid, result.st_uid),
        ("group", original.st_gid, result.st_gid),
        ("mode", oct(original.st_mode), oct(result.st_mode)),
        ("time of change", original.st_mtime_ns, result.st_mtime_ns),
    ):
        if old != new:
            raise ReplaceError(transient(NOT_KEPT, f"the result's {what} would be {new} instead of {old}"))


def _read_xattrs(fd: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in _names(fd):
        if name in _COMPUTED:
            continue
        try:
            found[name] = os.getxattr(fd, name)
        except OSError as error:
            if error.errno != errno.ENODATA:  # removed since it was listed
                raise
    return found


def _write_xattrs(fd: int, wanted: dict[str, bytes]) -> None:
    present = _read_xattrs(fd)
    for name in present.keys() - wanted.keys() - {"security.selinux"}:  # a label can be changed, never removed
        os.removexattr(fd, name)
    for name, value in wanted.items():
        if name not in _AFTER_OWNER and present.get(name) != value:
            os.setxattr(fd, name, value)


def _names(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return []
        raise


def _effective_capabilities() -> int:
    """The calling thread's effective capabilities as bits (proc_pid_status(5)); none where /proc does not say."""
    try:
        with open("/proc/thread-self/status", "rb") as file:
            for line in file:
                if line.startswith(b"CapEff:"):
                    return int(line.split()[1], 16)
    except OSError:
        pass  # without /proc we know of none
    return 0
