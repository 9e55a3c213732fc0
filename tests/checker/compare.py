"""What did not survive between two snapshots."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tests.checker.content import ContentFacts
from tests.checker.files import FileFacts


@dataclass(frozen=True, slots=True)
class Difference:
    path: bytes
    what: str
    """A fixed word: lost, unexpected, kind, mode, owner, mtime, atime, xattrs, links, content, larger, format, shape,
    pixels, metadata, tags, trailer."""
    detail: str = ""

    def __str__(self) -> str:
        name = os.fsdecode(self.path).encode("unicode_escape", "surrogateescape").decode("ascii")
        return f"{name}: {self.what}" + (f": {self.detail}" if self.detail else "")


def compare(
    before: Mapping[bytes, FileFacts],
    after: Mapping[bytes, FileFacts],
    *,
    gone: Collection[bytes] = (),
    atime: bool = True,
) -> list[Difference]:
    """Every difference beyond a smaller encoding of the same pixels; `gone` names what the test itself removed.

    What stands in `after` alone is a difference: a forgotten temp shows as `unexpected`. `atime` compares the access
    times of replaced files; it is of no use between a folder and its copy.
    """
    found = [Difference(path, "unexpected") for path in sorted(after.keys() - before.keys())]
    for path, old in sorted(before.items()):
        new = after.get(path)
        if new is not None:
            found += _compare_outside(path, old, new, atime)
            if old.content and new.content and old.content.sha256 != new.content.sha256:
                found += _compare_content(path, old.content, new.content)
        elif path not in gone:
            found.append(Difference(path, "lost"))
    return found


def _compare_outside(path: bytes, old: FileFacts, new: FileFacts, atime: bool) -> list[Difference]:
    if old.kind != new.kind:
        return [Difference(path, "kind", f"{old.kind} -> {new.kind}")]
    found = []
    if old.mode != new.mode:
        found.append(Difference(path, "mode", f"{old.mode:o} -> {new.mode:o}"))
    if (old.uid, old.gid) != (new.uid, new.gid):
        found.append(Difference(path, "owner", f"{old.uid}:{old.gid} -> {new.uid}:{new.gid}"))
    if old.xattrs != new.xattrs:
        names = {name for name, _ in set(old.xattrs) ^ set(new.xattrs)}
        found.append(Difference(path, "xattrs", ", ".join(sorted(names))))
    if old.target != new.target:
        found.append(Difference(path, "content", "the symlink points elsewhere"))
    if old.kind == "folder":  # its times and links follow what happens inside
        return found
    if old.links != new.links:
        found.append(Difference(path, "links", f"{old.links} -> {new.links}"))
    if old.mtime_ns != new.mtime_ns:
        found.append(Difference(path, "mtime", f"{new.mtime_ns - old.mtime_ns:+} ns"))
    if atime and old.inode != new.inode and old.atime_ns != new.atime_ns:
        # Anybody's reading moves the access time of a file that was left alone; a replaced one was given it.
        found.append(Difference(path, "atime", f"{new.atime_ns - old.atime_ns:+} ns"))
    return found


def _compare_content(path: bytes, old: ContentFacts, new: ContentFacts) -> list[Difference]:
    if old.format == "other":
        return [Difference(path, "content", "changed, though nothing could prove it the same")]
    if old.format != new.format:
        return [Difference(path, "format", f"{old.format} -> {new.format} or damaged")]
    found = []
    if new.size >= old.size:
        found.append(Difference(path, "larger", f"{old.size} -> {new.size} bytes"))
    if old.shape != new.shape:
        found.append(Difference(path, "shape", f"{old.shape} -> {new.shape}"))
    shared = sorted(dict(old.pixels).keys() & dict(new.pixels).keys())
    if not shared:
        found.append(Difference(path, "pixels", "no decoder could read both"))
    for decoder in shared:
        if dict(old.pixels)[decoder] != dict(new.pixels)[decoder]:
            found.append(Difference(path, "pixels", f"as {decoder} sees them"))
    if old.metadata != new.metadata:
        found.append(Difference(path, "metadata", _changed(old.metadata, new.metadata)))
    if old.bound != new.bound:
        found.append(Difference(path, "metadata", f"no longer fits the picture: {old.bound} -> {new.bound}"))
    if old.tags != new.tags:
        found.append(Difference(path, "tags", _changed(old.tags, new.tags)))
    if old.trailer != new.trailer:
        found.append(Difference(path, "trailer"))
    return found


def _changed(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> str:
    lost = [f"-{name}" for name, value in old if (name, value) not in new]
    added = [f"+{name}" for name, value in new if (name, value) not in old]
    return ", ".join(lost + added) or "order"
