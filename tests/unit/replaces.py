"""Replaces and output trees, simulated."""

from __future__ import annotations

from dataclasses import dataclass, replace

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import (
    Failure,
    FailureKind,
    FileKind,
    FileRef,
    HintKind,
    Identity,
    Intent,
    KeptAt,
    Mirror,
    Mirrored,
)
from imgoptd.core.recovery import records_after
from tests.unit.disk import Content, Disk, File
from tests.unit.sim_store import SimStore

TREE = b"/srv/small"
"""The output tree of folders that have one."""


@dataclass(slots=True)
class SimOutput:
    """A file in an output tree."""

    content: Content
    identity: Identity


class Replaces:
    """What is prepared, exchanged and copied, in folders and output trees, and put right after a death."""

    disk: Disk
    store: SimStore
    trees: dict[bytes, dict[FileRef, SimOutput]]
    """What stands in each output tree, by the file it stands for."""
    undo: dict[bytes, File]
    """Originals that were moved aside, by the name they are kept under."""
    open: dict[FileRef, Content]
    """Jobs whose descriptors are open, with the content that was read."""
    mirrors: dict[FileRef, Mirror | None]
    """Where the result of each of them goes."""

    def post(self, event: e.Event) -> None:
        raise NotImplementedError

    def hint(self, ref: FileRef, *kinds: HintKind) -> None:
        raise NotImplementedError

    def commit(self, records: list[c.Record]) -> None:
        raise NotImplementedError

    def prepare(self, action: c.Prepare, how: str) -> None:
        ref, size = action.ref, action.size_bytes
        content, file = self.open[ref], self.disk.files.get(ref)
        assert size == content.optimized().size
        if how == "fail" or file is None or file.content != content:
            del self.open[ref]
            self.post(e.ReplaceFailed(ref, transient("no-space") if how == "fail" else changed("changed")))
            return
        if file.leave is not None and self.mirrors[ref] is None:
            del self.open[ref]
            self.post(e.ReplaceFailed(ref, file.leave))
            return
        result = None if how == "copied" else self._new_file(content.optimized())
        keep = KeptAt(b"", b"%d" % self.disk.number()) if action.keep_original else None
        mirror = self.mirrors[ref]
        displaced = self._displaced(ref, mirror) if mirror is not None else file.identity
        self.post(e.Prepared(ref, b".tmp", displaced, result, content.optimized().sha256, keep))

    def _new_file(self, content: Content) -> Identity:
        number = self.disk.number()
        return Identity(1, number, content.size, number)

    def exchange(self, intent: Intent, how: str) -> None:
        ref, content = intent.ref, self.open[intent.ref]
        if intent.result is None:
            result = self._new_file(content.optimized())
            sha256, keep = intent.result_sha256, intent.keep
            self.post(e.Prepared(ref, intent.temp_name, intent.original, result, sha256, keep))
            return
        del self.open[ref]
        file = self.disk.files.get(ref)
        if how == "fail" or file is None or file.identity != intent.original:
            self.post(e.ReplaceFailed(ref, transient("io-error") if how == "fail" else changed("changed")))
            return
        if intent.keep is not None:
            self.undo[intent.keep.name] = replace(file)
        file.content, file.ino, file.mtime_ns = content.optimized(), intent.result.ino, intent.result.mtime_ns
        self.hint(ref, HintKind.MOVED)  # the watcher hears our own exchange too
        if how == "unfinished":
            self.post(e.ReplaceFailed(ref, transient("unfinished")))
        else:
            self.post(e.Exchanged(ref, intent.result, intent.original if intent.keep else None))

    # ---- output trees -----------------------------------------------------------------------------------------------

    def _displaced(self, ref: FileRef, mirror: Mirror) -> Identity:
        standing = self.trees[mirror.root].get(ref)
        return standing.identity if standing is not None else Identity(1, 0, 0, 0)

    def stands(self, mirror: Mirror | None, ref: FileRef, sha256: str) -> tuple[bool, bool]:
        """Is the name taken by what is not our earlier output? Does the output of just this content stand there?"""
        standing = self.trees[mirror.root].get(ref) if mirror is not None else None
        if mirror is None or standing is None:
            return False, False
        ours = mirror.earlier is not None and mirror.earlier.identity == standing.identity
        return not ours, mirror.earlier is not None and mirror.earlier.source_sha256 == sha256

    def copy(self, action: c.Copy, how: str) -> None:
        ref, file = action.ref, self.disk.files.get(action.ref)
        sha256 = file.content.sha256 if file is not None else ""
        taken, stands = self.stands(action.mirror, ref, sha256)
        if how == "fail":
            self.post(e.ReplaceFailed(ref, transient("no-space")))
        elif file is None or file.kind is not FileKind.REGULAR or file.identity != action.identity:
            self.post(e.ReplaceFailed(ref, changed("changed")))
        elif taken:
            self.post(e.ReplaceFailed(ref, name_taken()))
        elif stands:
            self.post(e.Standing(ref, sha256))
        else:
            self.open[ref], self.mirrors[ref] = file.content, action.mirror
            result = None if how == "copied" else self._new_file(file.content)
            self.post(e.Prepared(ref, b".tmp", self._displaced(ref, action.mirror), result, sha256))

    def place(self, intent: Intent, mirrored: Mirrored, how: str) -> None:
        ref, source = intent.ref, self.open[intent.ref]
        result = source if intent.result_sha256 == source.sha256 else source.optimized()
        if intent.result is None:
            identity = self._new_file(result)
            self.post(e.Prepared(ref, intent.temp_name, intent.original, identity, intent.result_sha256))
            return
        del self.open[ref]
        file, standing = self.disk.files.get(ref), self.trees[mirrored.root].get(ref)
        if how == "fail" or file is None or file.identity != mirrored.source:
            self.post(e.ReplaceFailed(ref, transient("io-error") if how == "fail" else changed("changed")))
        elif (standing.identity if standing else None) != (intent.original if intent.original.ino else None):
            self.post(e.ReplaceFailed(ref, name_taken()))
        else:
            self.trees[mirrored.root][ref] = SimOutput(result, intent.result)
            done = e.ReplaceFailed(ref, transient("unfinished")) if how == "unfinished" else None
            self.post(done or e.Exchanged(ref, intent.result))

    def recover(self, intent: Intent) -> None:
        file: File | SimOutput | None = self.disk.files.get(intent.ref)
        if intent.mirrored is not None:
            file = self.trees[intent.mirrored.root].get(intent.ref)
        identity = file.identity if file else None
        finished = intent.result is not None and identity == intent.result
        known = self.store.files.get(intent.ref)
        kept = intent.original if intent.keep and intent.keep.name in self.undo else None
        self.commit(records_after(intent, known, finished, identity, "put right", "archive", kept))
        if kept is not None:
            self.post(e.UndoChanged(1, kept.size))


def name_taken() -> Failure:
    return Failure(FailureKind.REJECTED, "output-taken", "something else has its name")


def changed(reason: str) -> Failure:
    return Failure(FailureKind.CHANGED, reason, "it is another file now")


def transient(reason: str) -> Failure:
    return Failure(FailureKind.TRANSIENT, reason, "something failed")
