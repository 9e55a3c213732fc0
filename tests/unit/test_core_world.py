"""The engine in an imagined world where anything may happen in any order: files, workers, replaces, crashes."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FINAL_STATES, FileKind, FileRecord, FileRef, HintKind, JobSettings, JobState
from imgoptd.core.restores import RESTORED
from imgoptd.core.undo import UNDO_FULL
from tests.unit.disk import ALICE, BOB, Content, File
from tests.unit.edge import MIB
from tests.unit.invariants import NOT_ABOUT_CONTENT
from tests.unit.replaces import TREE
from tests.unit.world import World, folder

ROOTS = (b"/srv/a", b"/srv/b", b"/srv/later", b"/srv/mirrored")
FOLDERS = (
    folder(ROOTS[0], priority=3, settings=JobSettings(keep_original=True)),
    folder(ROOTS[1], optimize_existing=True),
    folder(ROOTS[2], settle_s=4.0, priority=3),
    folder(ROOTS[3], output=TREE),
)
REFS = [FileRef(root, name) for root in ROOTS for name in (b"1.jpg", b"2.png", b"sub/3.jpg")]
KINDS = ["photo", "photo", "photo", "panorama", "huge", "tight", "corrupt", "text", "deadly", "deadly-to-probe"]
KINDS += ["endless", "greedy", "wrong", "gif"]
HOW = {
    c.ProbeFolder: ["fail"],
    c.SendProbe: ["fail"],
    c.SendJob: ["fail"],
    c.Prepare: ["fail", "copied"],
    c.Copy: ["fail", "copied"],
    c.Exchange: ["fail", "unfinished"],
    c.Restore: ["fail", "unfinished"],
}

ENDS = [(-9, False, False), (-9, True, False), (1, False, False), (-9, False, True)]
"""Of a worker: status, killed by the OOM killer, innocent."""

refs = st.sampled_from(REFS)
kinds = st.sampled_from(KINDS)
budgets = st.sampled_from([None, 700 * MIB])
uids = st.sampled_from([ALICE, ALICE, BOB])
chance = st.integers(0, 1000)


class AnyWorld(RuleBasedStateMachine):
    @initialize(
        existing=st.sets(refs, max_size=4),
        workers_max=st.integers(1, 3),
        budget=st.sampled_from([None, 700 * MIB]),
        undo=st.sampled_from([1 << 40, 2_500_000]),
    )
    def begin(self, existing: set[FileRef], workers_max: int, budget: int | None, undo: int) -> None:
        self.tags = 0
        self.removed: set[FileRef] = set()
        # What stands in the folder that treats existing files is no exception from anything.
        files = {ref: self.content("photo") for ref in sorted(existing) if ref.root != ROOTS[1]}
        watched = (*FOLDERS[:2], FOLDERS[3])
        self.world = World(*watched, workers_max=workers_max, budget_bytes=budget, undo_max_bytes=undo, files=files)

    def content(self, kind: str) -> Content:
        """Contents recur: the same bytes may come again, at the same path or at another."""
        self.tags += 1
        return Content(kind, self.tags % 7, 1_000_000 + self.tags % 7)

    def some_file(self, ref: FileRef) -> File | None:
        return self.world.disk.files.get(ref)

    # ---- users ------------------------------------------------------------------------------------------------------

    @rule(files=st.lists(st.tuples(refs, kinds, uids), min_size=1, max_size=6))
    def files_are_moved_in(self, files: list[tuple[FileRef, str, int]]) -> None:
        for ref, kind, uid in files:
            if self.world.watched(ref):
                self.world.drop(ref, self.content(kind), uid)

    @rule(ref=refs, kind=kinds, hints=st.lists(st.sampled_from([HintKind.CREATED, HintKind.CLOSED]), max_size=2))
    def a_file_is_written_slowly(self, ref: FileRef, kind: str, hints: list[HintKind]) -> None:
        if self.world.watched(ref):
            self.world.disk.put(ref, self.content(kind), writers=1)
            self.world.hint(ref, HintKind.CREATED, *hints)

    @rule(ref=refs, kind=kinds)
    def a_writer_closes(self, ref: FileRef, kind: str) -> None:
        file = self.some_file(ref)
        if file is not None and self.world.watched(ref):
            file.writers = 0
            self.world.overwrite(ref, self.content(kind))

    @rule(ref=refs)
    def a_file_vanishes_and_perhaps_comes_back(self, ref: FileRef) -> None:
        if self.world.disk.files.pop(ref, None) is not None:
            self.world.hint(ref, HintKind.MOVED)

    @rule(ref=refs, data=st.data())
    def a_file_is_away_for_a_while(self, ref: FileRef, data: st.DataObject) -> None:
        file = self.world.disk.files.pop(ref, None)
        if file is not None and self.world.watched(ref):
            self.world.hint(ref, HintKind.MOVED)
            self.world.run(data.draw(st.sampled_from([0.0, 2.0])))
            self.world.disk.files[ref] = file
            self.world.hint(ref, HintKind.MOVED)

    @rule(ref=refs, kind=st.sampled_from(list(FileKind)), pinnable=st.booleans())
    def a_file_becomes_something_else(self, ref: FileRef, kind: FileKind, pinnable: bool) -> None:
        file = self.some_file(ref)
        if file is None or kind is FileKind.GONE:
            return
        if kind in (FileKind.SYMLINK, FileKind.OTHER) or file.kind in (FileKind.SYMLINK, FileKind.OTHER):
            file.ino = self.world.disk.number()
        file.kind, file.pinnable = kind, pinnable

    @rule(ref=refs)
    def somebody_removes_an_output(self, ref: FileRef) -> None:
        self.world.tree.pop(ref, None)
        self.removed.add(ref)

    @rule(ref=refs, mode=st.sampled_from([0o644, 0o444]), nlink=st.sampled_from([1, 1, 2]))
    def rights_or_links_change(self, ref: FileRef, mode: int, nlink: int) -> None:
        file = self.some_file(ref)
        if file is not None:
            file.mode, file.nlink = mode, nlink

    @rule(leases=st.booleans())
    def the_filesystem_grants_leases_or_not(self, leases: bool) -> None:
        self.world.disk.leases = leases

    @precondition(lambda self: self.world.store.kept)
    @rule(which=chance, turn=st.booleans())
    def an_original_is_asked_for(self, which: int, turn: bool) -> None:
        rows = list(self.world.store.kept.values())
        self.world.ask_restore(rows[which % len(rows)].ref)
        if turn:
            self.world.turn()

    @precondition(lambda self: self.world.store.kept)
    @rule(which=chance)
    def an_original_grows_old(self, which: int) -> None:
        names = list(self.world.store.kept)
        self.world.age(names[which % len(names)])

    # ---- the world turns --------------------------------------------------------------------------------------------

    @rule(choices=st.lists(st.tuples(chance, st.integers(0, 9)), max_size=12), each=st.booleans())
    def turns_and_answers(self, choices: list[tuple[int, int]], each: bool) -> None:
        """Some of what is under way comes to its end, well or badly; with `each` a turn is made after each of it."""
        self.world.turn()
        for which, how in choices:
            self.something_happens(which, how)
            if each:
                self.world.turn()

    def something_happens(self, which: int, how: int) -> None:
        world = self.world
        able = [number for number, worker in world.workers.items() if worker.up and worker.tasks]
        if not able and not world.pending:
            return
        which %= len(able) + len(world.pending)
        if which < len(able):
            world.work(able[which])
            return
        action = world.pending[which - len(able)]
        ways = HOW.get(type(action), [])
        world.answer(action, ways[how] if how < len(ways) else "well")

    @rule()
    def the_daemon_dies_before_its_commit(self) -> None:
        self.world.turn(lose=True)
        self.world.crash()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now_s += seconds
        self.world.turn()

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 20.0]))
    def all_goes_well_for_a_while(self, seconds: float) -> None:
        self.world.run(seconds)

    # ---- trouble ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.workers)
    @rule(which=chance, end=st.sampled_from(ENDS))
    def a_worker_ends(self, which: int, end: tuple[int, bool, bool]) -> None:
        status, oom, innocent = end
        number = sorted(self.world.workers)[which % len(self.world.workers)]
        self.world.end_worker(number, status, oom=oom, innocent=innocent)

    @rule()
    def the_template_dies(self) -> None:
        for number in list(self.world.workers):
            self.world.end_worker(number, -9, innocent=True)

    @rule(scan_first=st.booleans())
    def the_daemon_is_killed(self, scan_first: bool) -> None:
        self.world.crash(scan_first=scan_first)

    @rule(which=st.integers(0, 3))
    def a_folder_is_scanned_again(self, which: int) -> None:
        root = self.world.config.folders[which % len(self.world.config.folders)].root
        self.world.scan(root)

    @rule(keep=st.integers(1, 15), workers_max=st.integers(1, 3), workers_min=st.integers(0, 1))
    def the_configuration_changes(self, keep: int, workers_max: int, workers_min: int) -> None:
        folders = tuple(policy for index, policy in enumerate(FOLDERS) if keep >> index & 1)
        self.world.configure(folders=folders, workers_max=workers_max, workers_min=workers_min)

    @rule(
        available=st.sampled_from([None, 10, 200, 450, 900, 3072]),
        rate=st.sampled_from([None, 0.0, 0.1, 0.5]),
        limit=st.sampled_from([4096, 4096, 1024]),
        held=st.integers(0, 400),
    )
    def memory_comes_and_goes(self, available: int | None, rate: float | None, limit: int, held: int) -> None:
        available_bytes = None if available is None else available * MIB
        self.world.holds = dict.fromkeys(REFS, held * MIB)
        self.world.machine = e.Sensed(available_bytes, limit * MIB, psi_some_rate=rate, cpus=4)
        self.world.post(self.world.sensed())

    @rule()
    def it_is_stopped_and_started(self) -> None:
        world = self.world
        world.post(e.DrainRequested())
        for _ in range(1000):
            world.settle_answers()
            if world.engine.drained():
                break
            deadline_s = world.engine.next_deadline_s()
            assert deadline_s is not None, "a drain that never ends"
            world.now_s = deadline_s
        assert world.engine.drained()
        world.boot()

    @rule(root=st.sampled_from(ROOTS), sick=st.booleans())
    def a_disk_falls_sick_or_is_well_again(self, root: bytes, sick: bool) -> None:
        if sick:
            self.world.disk.sick.add(root)
        else:
            self.world.disk.sick.discard(root)

    @rule(root=st.sampled_from(ROOTS))
    def a_folder_is_lost_or_found(self, root: bytes) -> None:
        if root in self.world.disk.lost:
            self.world.find(root)
        elif root in self.world.store.baselines:  # what a lost folder does to its first scan is not the engine's affair
            self.world.lose(root)

    # ---- in the end -------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.calm_down()

    def calm_down(self) -> None:
        """Nothing more happens and nothing is in the way: every file comes to a final state, soon, and stays there."""
        world = self.world
        for file in world.disk.files.values():
            file.writers = 0
            if file.kind is FileKind.UNREADABLE:
                file.kind = FileKind.REGULAR
        world.disk.sick.clear()
        for root in sorted(world.disk.lost):
            world.find(root)
        world.machine = e.Sensed(3072 * MIB, 4096 * MIB, cpus=4)
        world.post(world.machine)
        for policy in world.config.folders:
            world.scan(policy.root)
        world.run()
        assert not world.open, "descriptors left open"
        assert not world.live_restores, "somebody waits for an original without end"
        watched = {name: one for name, one in world.store.kept.items() if world.watched(one.ref)}
        assert not [one for one in watched.values() if one.restoring], "a restore was left half done"
        assert watched.keys() <= world.undo.keys(), "a row of an original that is not there"
        undo = world.engine.jobs.undo
        total = sum(one.identity.size for one in world.store.kept.values())
        assert (undo.files, undo.bytes) == (len(world.store.kept), total)
        assert undo.bytes <= undo.max_bytes, "more is kept than may be"
        assert not {ref for ref in world.store.intents if world.watched(ref)}, "an intent was left"
        for ref, file in world.disk.files.items():
            if world.watched(ref):
                self.check_end(ref, file)
        # What vanished while its folder was not watched is noticed by the next start.
        world.crash()
        world.run()
        for ref, record in world.store.files.items():
            if world.watched(ref) and ref not in world.disk.files:
                assert record.state in FINAL_STATES, f"{ref} is gone and still {record.state}"

    def check_end(self, ref: FileRef, file: File) -> None:
        record = self.world.store.files[ref]
        if record.state is JobState.HELD and (file.content.kind == "huge" or record.reason == UNDO_FULL):
            return
        assert record.state in FINAL_STATES, f"{ref} ended as {record.state}"
        if file.kind is FileKind.REGULAR:
            assert record.identity == file.identity, f"{ref}: the row is about another content"
            if ref.root == ROOTS[3]:
                self.check_mirrored(ref, file, record)
            elif record.reason not in NOT_ABOUT_CONTENT and file.content.kind == "photo":
                assert record.reason in ("known", "own-result", RESTORED) or record.state is JobState.QUARANTINED, (
                    record
                )

    def check_mirrored(self, ref: FileRef, file: File, record: FileRecord) -> None:
        """Every picture that is finished stands in the tree, made from just this content."""
        standing = self.world.tree.get(ref)
        if record.state is JobState.QUARANTINED or record.reason in (*NOT_ABOUT_CONTENT, "not-an-image"):
            return
        if standing is None:
            assert ref in self.removed
            return
        assert standing.content in (file.content, file.content.optimized())
        assert self.world.store.outputs[ref, TREE].source_sha256 == file.content.sha256


def test_jobs_that_hold_more_than_they_were_given_do_not_count_as_given_too_much() -> None:
    world = AnyWorld()
    world.begin(existing=set(), workers_max=3, budget=700 * MIB, undo=1 << 40)
    world.memory_comes_and_goes(available=None, rate=None, limit=4096, held=234)
    world.files_are_moved_in(files=[(ref, "endless", ALICE) for ref in REFS[:3]])
    world.teardown()


TestAnyWorld = AnyWorld.TestCase
TestAnyWorld.settings = settings(max_examples=150, stateful_step_count=50)
