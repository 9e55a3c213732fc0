"""What is around the engine, simulated: a store that is a dictionary, and adapters that answer when told to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import (
    Domain,
    Failure,
    FileKind,
    FileRef,
    HintKind,
    Identity,
    Kept,
    Mirror,
    Restoring,
)
from imgoptd.core.recovery import records_after_restore
from tests.unit.disk import BURSTING, DEADLY, DEADLY_TO_PROBE, ENDLESS, Content, Disk, File
from tests.unit.invariants import check_record
from tests.unit.replaces import TREE, Replaces, SimOutput, changed, name_taken, transient
from tests.unit.sim_store import SimStore

MIB = 1 << 20

Answerable = (
    c.LookAt
    | c.ProbeFolder
    | c.StartWorker
    | c.RetireWorker
    | c.KillWorker
    | c.Recall
    | c.SendProbe
    | c.SendJob
    | c.Prepare
    | c.Copy
    | c.Exchange
    | c.Restore
    | c.Sense
)


@dataclass(slots=True)
class SimWorker:
    domain: Domain
    up: bool = False
    tasks: list[tuple[FileRef, Content, bool]] = field(default_factory=list)
    """Handed over: the file, the content that was read, and whether it is a job (else a probe)."""


class Edge(Replaces):
    """Disk, store, workers and replaces. Nothing happens by itself: each pending action waits for its `answer`."""

    def __init__(self, config: e.Configured, machine: e.Sensed) -> None:
        self.config = config
        self.machine = machine
        self.disk = Disk()
        self.trees: dict[bytes, dict[FileRef, SimOutput]] = defaultdict(dict)
        """What stands in each output tree, by the file it stands for."""
        self.store = SimStore()
        self.finished: dict[FileRef, tuple[Identity, bytes]] = {}
        """Content of each path that needs no work ever again for that output tree (empty: in place)."""
        self.untouchable: set[tuple[FileRef, Identity]] = set()
        """What stood in a folder with `existing = "ignore"` and nobody has touched since."""
        self.undo: dict[bytes, File] = {}
        """Originals that were moved aside, by the name they are kept under."""
        self.hanging: set[FileRef] = set()
        """Files whose job takes until they are taken out of here."""
        self.holds: dict[FileRef, int] = {}
        """Bytes that the worker which has the file first in hand holds above an idle one."""
        self.left_over: dict[int, int] = {}
        """Bytes that a worker still holds with nothing in hand."""
        self.staying: set[int] = set()
        """Workers that do not leave when they are told to."""
        self.cpu_s: dict[int, float] = {}
        """CPU seconds of each worker."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """All that a running daemon has and a dead one has lost."""
        self.inbox: list[e.Event] = []
        self.pending: list[Answerable] = []
        self.workers: dict[int, SimWorker] = {}
        self.live_restores: set[FileRef] = set()
        """Asked for and not answered yet."""
        self.open: dict[FileRef, Content] = {}
        """Jobs whose descriptors are open, with the content that was read."""
        self.mirrors: dict[FileRef, Mirror | None] = {}
        """Where the result of each of them goes."""

    @property
    def tree(self) -> dict[FileRef, SimOutput]:
        return self.trees[TREE]

    def commit(self, records: list[c.Record]) -> None:
        for record in records:
            check_record(self, record)
        self.store.commit(records)

    def post(self, event: e.Event) -> None:
        self.inbox.append(event)

    def watched(self, ref: FileRef) -> bool:
        return any(policy.root == ref.root for policy in self.config.folders)

    def hint(self, ref: FileRef, *kinds: HintKind) -> None:
        """The watcher hears something."""
        if self.watched(ref):
            self.untouchable = {one for one in self.untouchable if one[0] != ref}
            for kind in kinds:
                self.post(e.Hinted(ref, kind))

    def answer(self, action: Answerable, how: str = "well") -> None:
        """Do the pending action. `how`: well, fail, unfinished (of an exchange), copied (the result had to be)."""
        self.pending.remove(action)
        if self._cannot_be_done(action):
            how = "fail"
        match action:
            case c.LookAt(ref):
                self._finish_replace(ref)
                output = self.store.outputs.get((ref, action.output))
                self.post(e.Looked(ref, self.disk.look(ref), self.store.files.get(ref), output))
            case c.ProbeFolder(place, ref):
                if ref.root not in self.disk.lost:
                    sick = place.root in self.disk.sick or how == "fail"
                    self.post(e.FolderProbed(place, transient("io-error") if sick else None))
            case c.StartWorker(worker):
                if worker in self.workers:
                    self.workers[worker].up = True
                    self.post(e.WorkerStarted(worker, 4000 + worker, 30 * MIB))
            case c.RetireWorker(worker) if worker not in self.staying:
                self.end_worker(worker, 0)
            case c.KillWorker(worker):
                self.end_worker(worker, -9)
            case c.Recall(worker, ref):
                self._give_back(worker, ref)
            case c.SendProbe() | c.SendJob():
                self._send(action, how)
            case c.Prepare():
                self.prepare(action, how)
            case c.Copy():
                self.copy(action, how)
            case c.Exchange(intent) if intent.mirrored is not None:
                self.place(intent, intent.mirrored, how)
            case c.Exchange(intent):
                self.exchange(intent, how)
            case c.Restore(kept):
                self._restore(kept, how)
            case c.Sense():
                self.post(self.sensed())

    def sensed(self) -> e.Sensed:
        """A reading of the machine as the test has it, with its workers, each with what its first task holds."""
        if self.machine.workers:
            return self.machine
        readings = [
            e.WorkerReading(
                number,
                30 * MIB + (self.holds.get(worker.tasks[0][0], 0) if worker.tasks else self.left_over.get(number, 0)),
                self.cpu_s.get(number, 0.0),
            )
            for number, worker in self.workers.items()
            if worker.up
        ]
        return replace(self.machine, workers=tuple(readings))

    def _give_back(self, number: int, ref: FileRef) -> None:
        """The worker gives a task back that it has not begun; one that it works on goes on."""
        worker = self.workers.get(number)
        unbegun = [task for task in worker.tasks[1:] if task[0] == ref] if worker is not None else []
        if worker is not None and unbegun:
            worker.tasks.remove(unbegun[0])
            self.post(e.Recalled(number, ref))

    def _cannot_be_done(self, action: Answerable) -> bool:
        if isinstance(action, c.Prepare | c.Exchange):
            ref = action.ref if isinstance(action, c.Prepare) else action.intent.ref
            return ref.root in self.disk.sick
        return isinstance(action, c.SendProbe | c.SendJob) and action.ref.root in self.disk.sick | self.disk.lost

    def _send(self, action: c.SendProbe | c.SendJob, how: str) -> None:
        ref, worker = action.ref, self.workers.get(action.worker)
        file = self.disk.files.get(ref)
        refused = _unopened(file.identity if file else None, action.identity, how)
        if file is None or refused is not None or file.kind is not FileKind.REGULAR:
            self.post(e.TaskRefused(action.worker, ref, refused or changed("changed")))
        elif file.leave is not None and isinstance(action, c.SendJob) and action.mirror is None:
            self.post(e.TaskRefused(action.worker, ref, file.leave))
        elif worker is None:
            self.post(e.TaskRefused(action.worker, ref, None))
        elif isinstance(action, c.SendProbe):
            worker.tasks.append((ref, file.content, False))
            self.post(e.TaskStarted(action.worker, ref))
        else:
            sha256 = file.content.sha256
            own = any(receipt.after_sha256 == sha256 for receipt in self.store.receipts)
            taken, stands = self.stands(action.mirror, ref, sha256)
            if taken:
                self.post(e.TaskRefused(action.worker, ref, name_taken()))
                return
            if own or stands or sha256 == action.known_sha256:
                self.post(e.Recognised(action.worker, ref, sha256, own and not stands))
                return
            self.open[ref], self.mirrors[ref] = file.content, action.mirror
            worker.tasks.append((ref, file.content, True))
            self.post(e.TaskStarted(action.worker, ref, sha256))

    def work(self, number: int) -> bool:
        """The worker gets on with its first task; False where it has none or hangs in it."""
        worker = self.workers[number]
        if not worker.up or not worker.tasks:
            return False
        ref, content, is_job = worker.tasks[0]
        if is_job and (content.kind == ENDLESS or ref in self.hanging):
            return False
        if content.kind == (DEADLY if is_job else DEADLY_TO_PROBE):
            self.end_worker(number, -11)
            return True
        if is_job and content.kind == BURSTING:
            self.end_worker(number, -9, oom=True)
            return True
        del worker.tasks[0]
        if is_job:
            self.post(e.Finished(number, ref, content.outcome()))
        else:
            self.post(e.Probed(number, ref, *content.probe()))
        return True

    def end_worker(self, number: int, status: int, *, oom: bool = False, innocent: bool = False) -> None:
        if self.workers.pop(number, None) is not None:
            self.post(e.WorkerExited(number, status, oom, innocent))

    def _finish_replace(self, ref: FileRef) -> None:
        """A replace that was left with its names in disorder is put right before the next look at the file."""
        busy = any(isinstance(one, c.Exchange) and one.intent.ref == ref for one in self.pending)
        if ref in self.store.intents and ref not in self.open and not busy:
            self.recover(self.store.intents[ref])
        restoring = any(isinstance(one, c.Restore) and one.kept.ref == ref for one in self.pending)
        if ref not in self.live_restores and not restoring:
            self.recover_restores(ref)

    # ---- bringing originals back ------------------------------------------------------------------------------------

    def ask_restore(self, ref: FileRef) -> bool:
        """An operator asks for the newest original of the path; False where there is none that may be put back."""
        kept = next((one for one in reversed(self.store.kept.values()) if one.ref == ref), None)
        if kept is None or not self.watched(ref) or ref in self.live_restores:
            return False
        self.live_restores.add(ref)
        whole = replace(kept, restoring=Restoring(b"", kept.identity))
        self.post(e.RestoreAsked(whole, self.store.files.get(ref)))
        return True

    def _restore(self, kept: Kept, how: str) -> None:
        file = self.disk.files.get(kept.ref)
        if how == "fail" or (file is not None and file.identity != kept.result):
            failure = transient("io-error") if how == "fail" else changed("not-our-result")
            self.post(e.RestoreFailed(kept, failure))
            return
        self.disk.files[kept.ref] = self.undo.pop(kept.at.name)
        self.hint(kept.ref, HintKind.MOVED)
        if how == "unfinished":
            self.post(e.RestoreFailed(kept, transient("unfinished")))
        else:
            self.post(e.Restored(kept))

    def recover_restores(self, ref: FileRef | None = None) -> None:
        """Those that a dead daemon, or a failing disk, has left half done."""
        for kept in list(self.store.kept.values()):
            if kept.restoring is None or ref not in (None, kept.ref):
                continue
            file, still_kept = self.disk.files.get(kept.ref), kept.at.name in self.undo
            identity = file.identity if file else None
            known = self.store.files.get(kept.ref)
            self.commit(records_after_restore(kept, known, still_kept, identity, "put right"))
            if not still_kept:
                self.post(e.UndoChanged(-1, -kept.identity.size))

    def age(self, name: bytes) -> None:
        """The original is older than `keep`."""
        kept = self.store.kept[name]
        if kept.restoring is None and kept.ref not in self.live_restores:
            self.undo.pop(name, None)
            self.commit([c.DropKept(kept)])
            self.post(e.UndoChanged(-1, -kept.identity.size))


def _unopened(there: Identity | None, wanted: Identity, how: str) -> Failure | None:
    if how == "fail":
        return transient("io-error")
    if there is None:
        return changed("vanished")
    return None if there == wanted else changed("changed")
