"""What is outside a file: name, kind, mode, owner, times, extended attributes, links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from tests.checker.content import ContentFacts, read_content


@dataclass(frozen=True, slots=True)
class FileFacts:
    kind: str
    mode: int
    uid: int
    gid: int
    links: int
    mtime_ns: int
    atime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]
    """ACLs are among them, as `system.posix_acl_access`."""
    inode: tuple[int, int]
    target: bytes = b""
    content: ContentFacts | None = None


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def snapshot(folder: str | bytes | os.PathLike[str], *, tags: bool = False) -> dict[bytes, FileFacts]:
    """Facts of everything below `folder`, by path relative to it. Nothing is followed, no access time is moved.

    With `tags`, exiftool reads each picture too (0.2 s a file).
    """
    top = os.fsencode(folder)
    return {os.path.relpath(path, top): _facts(path, tags) for path in sorted(_walk(top))}


def _walk(top: bytes) -> Iterator[bytes]:
    with os.scandir(top) as entries:
        for entry in entries:
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)


def _facts(path: bytes, tags: bool) -> FileFacts:
    before = os.lstat(path)
    kind = _KINDS[stat.S_IFMT(before.st_mode)]
    return FileFacts(
        kind=kind,
        mode=stat.S_IMODE(before.st_mode),
        uid=before.st_uid,
        gid=before.st_gid,
        links=before.st_nlink,
        mtime_ns=before.st_mtime_ns,
        atime_ns=before.st_atime_ns,
        xattrs=_xattrs(path),
        inode=(before.st_dev, before.st_ino),
        target=os.readlink(path) if kind == "symlink" else b"",
        content=read_content(_read(path), tags=tags) if kind == "file" else None,
    )


def _read(path: bytes) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME)
    except PermissionError:  # O_NOATIME is for the owner and root
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        return file.read()


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    except OSError:  # a filesystem without them
        return ()
