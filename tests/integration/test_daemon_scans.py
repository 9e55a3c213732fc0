"""Scans of a real tree against a real store: what is known and finished costs nothing, nothing else is passed over."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.journald import Log
from imgoptd.adapters.store_files import NAME, StoreDamaged
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.adapters.watcher import Watcher
from imgoptd.config.rules import PathRules
from imgoptd.config.schema import Watch
from imgoptd.core import events as e
from imgoptd.core import rescan
from imgoptd.core.commands import AppendStep, SaveFile
from imgoptd.core.model import FileRecord, FileRef, HintKind, Identity, JobState
from imgoptd.core.since import Since
from imgoptd.daemon import scans
from imgoptd.daemon.scans import Scans
from imgoptd.daemon.watched import Watched
from tests.deep import deep


class Stand:
    def __init__(
        self,
        root: Path,
        tasks: asyncio.TaskGroup,
        edge: ThreadPoolExecutor,
        store: StoreThread,
        watcher: Watcher | None,
        patient: bool,
    ) -> None:
        watch = Watch(os.fsencode(root))
        self.root = root
        self.store = store
        self.known = Watched(watch, PathRules.of(watch), Folder(watch.path))
        self.events: list[e.Event] = []
        self.log_fd = os.memfd_create("log")
        self.scans = Scans(
            self.events.append,
            tasks,
            lambda call: asyncio.get_running_loop().run_in_executor(edge, call),
            store=store,
            log=Log("text", stderr_fd=self.log_fd),
            watcher=watcher,
            has_room=lambda: True,
            patient=patient,
        )

    async def scan(self, *, regular: bool = False) -> list[bytes]:
        """The paths that a scan of the whole folder hints at."""
        self.events.clear()
        self.scans.whole(self.known, "for a test", regular=regular)
        assert self.known.scan is not None
        await self.known.scan
        return self.hinted()

    def hinted(self) -> list[bytes]:
        return [event.ref.path for event in self.events if isinstance(event, e.Hinted)]

    async def know(self, *names: str, state: JobState = JobState.DONE, reason: str = "") -> None:
        for name in names:
            status = (self.root / name).stat()
            identity = Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            ref = FileRef(self.known.watch.path, os.fsencode(name))
            await self.store.commit([SaveFile(FileRecord(ref, identity, state, reason)), AppendStep(ref, state, "")])

    def said(self) -> str:
        return os.pread(self.log_fd, 1 << 20, 0).decode()


@asynccontextmanager
async def standing(
    root: Path, state: Path, watcher: Watcher | None = None, *, patient: bool = True
) -> AsyncIterator[Stand]:
    store = await StoreThread.open(state)
    edge = ThreadPoolExecutor(2)
    try:
        async with asyncio.TaskGroup() as tasks:
            stand = Stand(root, tasks, edge, store, watcher, patient)
            yield stand
            stand.scans.close()
        os.close(stand.log_fd)
    finally:
        edge.shutdown()
        await store.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


async def eventually(said: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not said():  # noqa: ASYNC110  # a test that looks from outside
            await asyncio.sleep(0.02)


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_only_what_is_new_or_changed_is_hinted_at(root: Path, tmp_path: Path) -> None:
    async def main() -> None:
        plant(root, "done", "sub/changed", "sub/new", "z/done", ".git/config")
        async with standing(root, tmp_path / "state") as stand:
            await stand.know("done", "sub/changed", "z/done")
            (root / "sub" / "changed").write_text("something else")
            assert await stand.scan() == [b"sub/changed", b"sub/new"]
            assert stand.events[0] == e.ScanStarted(stand.known.watch.path)
            assert stand.events[-1] == e.ScanFinished(stand.known.watch.path, True)

    asyncio.run(main())


def test_a_regular_scan_of_known_files_posts_no_event_at_all(root: Path, tmp_path: Path) -> None:
    async def main() -> None:
        names = [f"{number % 7}/{number}" for number in range(300)]
        plant(root, *names)
        async with standing(root, tmp_path / "state") as stand:
            await stand.know(*names)
            await stand.scan(regular=True)
            assert stand.events == []
            assert stand.known.next_scan_s is not None

    asyncio.run(main())


def test_a_regular_scan_finds_a_change_that_no_watch_tells_of_and_forgets_what_is_gone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescan, "EVERY_S", 0.1)
    monkeypatch.setattr(rescan, "REST", 0)

    async def main() -> None:
        plant(root, "kept", "gone")
        async with standing(root, tmp_path / "state") as stand:
            await stand.know("kept", "gone", state=JobState.SKIPPED, reason="not-smaller")
            assert await stand.scan() == []
            (root / "gone").unlink()
            (root / "kept").write_text("through a mapping, say")
            for _ in range(200):
                await stand.scans.look_again(stand.known)
                if stand.hinted():
                    break
                await asyncio.sleep(0.02)
            assert set(stand.hinted()) == {b"kept"}
            assert await stand.store.file(FileRef(stand.known.watch.path, b"gone")) is None

    asyncio.run(main())


def test_a_damaged_row_is_noticed_before_anything_is_made_of_it(root: Path, tmp_path: Path) -> None:
    hinted: list[bytes] = []

    async def main() -> None:
        plant(root, "a", "b", "c")
        async with standing(root, tmp_path / "state") as stand:
            await stand.know("a", "b", "c")
            with closing(sqlite3.connect(tmp_path / "state" / NAME, isolation_level=None)) as other:
                other.execute("UPDATE file SET path = CAST('bb' AS BLOB) WHERE path = CAST('b' AS BLOB)")
            try:
                await stand.scan()
            finally:
                hinted.extend(stand.hinted())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert caught.group_contains(StoreDamaged)
    assert hinted == []


def test_events_lost_while_a_scan_runs_ask_for_another_pass_and_are_said_once(root: Path, tmp_path: Path) -> None:
    async def main() -> None:
        plant(root, "a", "b")
        async with standing(root, tmp_path / "state") as stand:
            for _ in range(5):
                stand.scans.desynced(stand.known, "events were lost")
                await asyncio.sleep(0)  # the scan is under way
            assert stand.known.rescan == "events were lost"
            assert stand.known.scan is not None
            await stand.known.scan
            assert stand.hinted() == [b"a", b"b"] * 2
            assert [type(event) for event in stand.events if not isinstance(event, e.Hinted)] == [
                e.ScanStarted,
                e.ScanFinished,
            ]
            assert stand.said().count("events were lost") == 1
            assert stand.known.rescan == ""

    asyncio.run(main())


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = os.open("/", os.O_RDONLY)
    os.close(least)
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("first", [True, False])
def test_a_folder_that_cannot_be_listed_just_now_is_scanned_as_soon_as_it_can(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr(scans, "UNLISTED_S", 0.01)

    async def main() -> None:
        plant(root, "came while we were down")
        async with standing(root, tmp_path / "state") as stand:
            came_ns = (root / "came while we were down").stat().st_ctime_ns
            stand.known.baseline = Since(came_ns + 1) if first else None
            await stand.store.known(stand.known.watch.path, b"", 1)  # what the store opens it has open now
            with no_descriptors_left():
                stand.scans.whole(stand.known, "for a test")
                await eventually(lambda: "Too many open files" in stand.said())
                await asyncio.sleep(0.05)  # it is tried a few times
            assert stand.said().count("Too many open files") == 1
            assert stand.known.scan is not None
            await stand.known.scan
            told = [event for event in stand.events if isinstance(event, e.Hinted | e.StoodBefore)]
            assert [type(event) for event in told] == [e.StoodBefore if first else e.Hinted]
            assert stand.events[-1] == e.ScanFinished(stand.known.watch.path, True)
            assert stand.known.trouble == ""

    asyncio.run(main())


def test_a_run_of_its_own_does_not_wait_for_a_folder_that_cannot_be_listed_but_says_so(
    root: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        async with standing(root, tmp_path / "state", patient=False) as stand:
            await stand.store.known(stand.known.watch.path, b"", 1)
            with no_descriptors_left():
                await stand.scan()
            assert stand.events[-1] == e.ScanFinished(stand.known.watch.path, False)
            assert "cannot be listed" in stand.known.trouble, "its exit status is not that of a run that did all"

    asyncio.run(main())


def test_a_subtree_is_compared_alone(root: Path, tmp_path: Path) -> None:
    async def main() -> None:
        plant(root, "new", "sub/known", "sub/new", "sub.jpg")
        async with standing(root, tmp_path / "state") as stand:
            await stand.know("sub/known")
            stand.scans.below(stand.known, b"sub", HintKind.ARRIVED)
            await eventually(lambda: bool(stand.events))
            assert stand.events == [e.Hinted(FileRef(stand.known.watch.path, b"sub/new"), HintKind.ARRIVED)]

    asyncio.run(main())


def test_the_first_scan_tells_of_old_files_without_a_hint(root: Path, tmp_path: Path) -> None:
    async def main() -> None:
        plant(root, "old")
        async with standing(root, tmp_path / "state") as stand:
            stand.known.baseline = Since((root / "old").stat().st_ctime_ns + 1)
            assert await stand.scan() == []
            [told] = [event for event in stand.events if isinstance(event, e.StoodBefore)]
            assert [one.path for one in told.files] == [b"old"]
            assert stand.known.baseline is None

    asyncio.run(main())


def test_a_folder_too_deep_to_be_listed_is_told_as_that_and_what_lies_just_above_is_found(
    root: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        deep(root, b"a.jpg")
        async with standing(root, tmp_path / "state") as stand:
            assert await stand.scan() == []
            said = stand.said()
            assert "(File name too long): shorten the names of the folders above it" in said
            assert "give this user" not in said
            just_too_long = deep(tmp_path / "other", b"a.jpg", folder_bytes=4090)
            assert len(just_too_long) > 4095
            stand.known.folder = Folder(os.fsencode(tmp_path / "other"))
            assert await stand.scan() == [just_too_long], "the look tells of it"

    asyncio.run(main())


def test_a_regular_scan_watches_what_was_not_watched(root: Path, tmp_path: Path) -> None:
    async def main() -> None:
        watcher = Watcher(lambda: None)
        watcher.arm(os.fsencode(root), True, "poll")
        watcher._roots[os.fsencode(root)].exhausted = True  # as though there had been no watches left
        watcher._roots[os.fsencode(root)].wanted = "auto"
        try:
            async with standing(root, tmp_path / "state", watcher) as stand:
                await stand.scan(regular=True)
                assert watcher.backend_of(os.fsencode(root)).name == "native"
                assert stand.said().count("is polled no more") == 1
                await stand.scan(regular=True)
                assert stand.said().count("is polled no more") == 1
        finally:
            watcher.stop()

    asyncio.run(main())
