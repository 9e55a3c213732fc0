"""Everything around the engine, simulated: disk, store, workers, replaces and time. One engine, no real thing.

The world answers each action as the adapters do, only when and how the test says, and after each turn it checks what
must hold at any time (`invariants.py`). `crash` throws the engine away and starts another one from the store.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar, get_args

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileRecord, FileRef, HintKind, JobState
from imgoptd.core.policy import FolderPolicy
from tests.unit.disk import ALICE, Content
from tests.unit.edge import MIB, Edge, SimWorker
from tests.unit.invariants import check_action, check_engine, check_given_out

ROOT = b"/srv/photos"
UNFINISHED_STATES = (JobState.QUEUED, JobState.ACTIVE, JobState.DEFERRED, JobState.HELD)
RECORDS = get_args(c.Record)
MOST_TURNS = 5000

T = TypeVar("T")


class Stalled(AssertionError):
    """There is work, and nothing that could bring it on will ever happen."""


def folder(root: bytes = ROOT, **settings: object) -> FolderPolicy:
    return replace(FolderPolicy(root), **settings)  # type: ignore[arg-type]  # names are checked by replace itself


class World(Edge):
    def __init__(
        self,
        *folders: FolderPolicy,
        workers_max: int = 2,
        workers_min: int = 0,
        budget_bytes: int | None = None,
        machine: e.Sensed | None = None,
        timeout_s: float = 10.0,
        undo_max_bytes: int = 1 << 40,
        files: dict[FileRef, Content] | None = None,
    ) -> None:
        """`files` stand there before the folders are first watched."""
        super().__init__(
            e.Configured(1, folders or (folder(),), workers_min, workers_max, timeout_s, budget_bytes, undo_max_bytes),
            machine or e.Sensed(available_bytes=3072 * MIB, limit_bytes=4096 * MIB, cpus=4),
        )
        self.now_s = 1000.0
        self.actions: list[c.Action] = []
        """Everything ever asked for, in order."""
        for ref, content in (files or {}).items():
            self.place_existing(ref, content)
        self.boot()

    # ---- starting ---------------------------------------------------------------------------------------------------

    def boot(self, *, scan_first: bool = False) -> None:
        """A new engine, started from the store as the daemon does it."""
        self.engine = Engine()
        self.begin_anew()
        self.post(self.machine)
        self.post(self.config)
        self.post(e.UndoChanged(len(self.store.kept), sum(one.identity.size for one in self.store.kept.values())))
        self.recover_restores()
        for intent in list(self.store.intents.values()):
            self.recover(intent)
        unfinished = self._left()
        if scan_first:  # with very many files, turns are made before all of the last run's are told
            self._scan_all()
            for _ in range(3):
                self.turn()
                self._busy_step()
        for record in unfinished:
            self.post(e.Recovered(record))
        if not scan_first:
            self._scan_all()
        self.turn()

    def _left(self) -> list[FileRecord]:
        return [one for one in self.store.files.values() if one.state in UNFINISHED_STATES]

    def _scan_all(self) -> None:
        for policy in self.config.folders:
            if policy.root in self.disk.lost:
                self.post(e.FolderLost(policy.root, "it is gone"))
                continue
            self.post(e.FolderFound(policy.root))
            if policy.root not in self.store.baselines:
                self.post(e.BaselineStarted(policy.root))
            self.scan(policy.root)

    def scan(self, root: bytes, kind: HintKind = HintKind.FOUND) -> None:
        self.post(e.ScanStarted(root))
        refs = sorted(ref for ref in self.disk.files if ref.root == root)
        for ref in refs:
            if not self._waits(ref):
                self.post(e.Hinted(ref, kind))
        self.post(e.ScanFinished(root))

    def _waits(self, ref: FileRef) -> bool:
        """Does its row tell of what stands there, so that a scan says nothing of it?"""
        row = self.store.files.get(ref)
        if row is None or row.state not in (JobState.QUEUED, JobState.ACTIVE):
            return False
        return row.identity == self.disk.files[ref].identity

    def crash(self, *, scan_first: bool = False) -> None:
        """Lose all that is not durable: kill -9 of the daemon, whose workers die with it."""
        self.boot(scan_first=scan_first)

    def configure(self, **changes: object) -> None:
        known = {policy.root for policy in self.config.folders}
        self.config = replace(self.config, generation=self.config.generation + 1, **changes)  # type: ignore[arg-type]
        self.post(self.config)
        for policy in self.config.folders:
            if policy.root in known:
                continue
            if policy.root in self.disk.lost:
                self.post(e.FolderLost(policy.root, "it is gone"))
            else:
                self.post(e.FolderFound(policy.root))
                if policy.root not in self.store.baselines:
                    self.post(e.BaselineStarted(policy.root))
                self.scan(policy.root)
            for record in self._left():
                if record.ref.root == policy.root:
                    self.post(e.Recovered(record))

    def lose(self, root: bytes) -> None:
        """The folder goes out of reach."""
        self.disk.lost.add(root)
        if any(policy.root == root for policy in self.config.folders):
            self.post(e.FolderLost(root, "it is gone"))

    def find(self, root: bytes) -> None:
        self.disk.lost.discard(root)
        if any(policy.root == root for policy in self.config.folders):
            self.post(e.FolderFound(root))
            self.scan(root)

    # ---- what users do ----------------------------------------------------------------------------------------------

    def place_existing(self, ref: FileRef, content: Content) -> None:
        file = self.disk.put(ref, content)
        self.untouchable.add((ref, file.identity))

    def drop(self, ref: FileRef, content: Content, uid: int = ALICE) -> None:
        """A file is moved into the folder."""
        self.disk.put(ref, content, uid)
        self.hint(ref, HintKind.MOVED)

    def overwrite(self, ref: FileRef, content: Content) -> None:
        self.disk.rewrite(ref, content)
        self.hint(ref, HintKind.CLOSED)

    # ---- turns ------------------------------------------------------------------------------------------------------

    def post(self, event: e.Event) -> None:
        self.inbox.append(event)

    def turn(self, *, lose: bool = False) -> list[c.Command]:
        """One turn of the daemon; with `lose` it dies before the commit."""
        commands: list[c.Command] = []
        events, self.inbox = self.inbox, []
        for event in events:
            commands += self.engine.handle(event, self.now_s)
        commands += self.engine.end_turn(self.now_s)
        check_engine(self.engine, self.now_s)
        for command in commands:
            if isinstance(command, c.SendProbe | c.SendJob):
                check_given_out(self.engine, command)
        if lose:
            return commands
        for command in commands:
            if isinstance(command, RECORDS):
                self.commit([command])
        for command in commands:
            if not isinstance(command, RECORDS):
                self._perform(command)  # type: ignore[arg-type]  # a command that is no record is an action
        return commands

    def _perform(self, action: c.Action) -> None:
        check_action(self, action)
        self.actions.append(action)
        match action:
            case c.StartWorker(worker, domain):
                self.workers[worker] = SimWorker(domain)
                self.pending.append(action)
            case c.Discard(ref):
                self.open.pop(ref, None)
            case c.AnswerRestore(ref):
                self.live_restores.discard(ref)
            case c.Announce():
                pass
            case _:
                self.pending.append(action)

    # ---- all by itself ----------------------------------------------------------------------------------------------

    def settle_answers(self) -> None:
        """Everything pending is answered and every worker works until none can, without time passing."""
        for _ in range(MOST_TURNS):
            self.turn()
            if not self._busy_step():
                return
        raise Stalled("turn follows turn and no time passes")

    def _busy_step(self) -> bool:
        busy = bool(self.inbox)
        for action in list(self.pending):
            self.answer(action)
            busy = True
        for number in list(self.workers):
            busy = self.work(number) or busy
        return busy

    def until(self, kind: type[T]) -> T:
        """Let all go well until such an action is asked for; it stays unanswered."""
        for _ in range(MOST_TURNS):
            self.turn()
            for action in self.pending:
                if isinstance(action, kind):
                    return action
            if not self._busy_step():
                self.now_s = self.engine.next_deadline_s() or self.now_s
        raise Stalled(f"no {kind.__name__} was asked for")

    def run(self, for_s: float | None = None) -> None:
        """Let time pass from deadline to deadline: for so long, or until all is at rest and nothing is deferred."""
        end_s = None if for_s is None else self.now_s + for_s
        for _ in range(MOST_TURNS):
            self.settle_answers()
            if end_s is None and self.engine.at_rest() and not self.engine.deferred():
                return
            deadline_s = self.engine.next_deadline_s()
            if end_s is not None and (deadline_s is None or deadline_s > end_s):
                self.now_s = end_s
                self.settle_answers()
                return
            if deadline_s is None:
                raise Stalled(f"{self.engine.unfinished()} files are unfinished and nothing is due")
            self.now_s = deadline_s
        raise Stalled(f"no rest within {MOST_TURNS} turns")

    # ---- asking -----------------------------------------------------------------------------------------------------

    def state(self, ref: FileRef) -> tuple[JobState, str]:
        record = self.store.files[ref]
        return record.state, record.reason

    def asked(self, kind: type[T]) -> list[T]:
        return [action for action in self.actions if isinstance(action, kind)]
