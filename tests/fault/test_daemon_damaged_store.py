"""The store is damaged while the daemon runs, or while it is down: it is said, mended, and no image suffers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from signal import SIGTERM

import pytest

from imgoptd.adapters.store import Store
from imgoptd.core.commands import BaselineTaken, SaveFile
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState
from tests import images
from tests.checker import snapshot
from tests.harness import Daemon, drop, eventually, unique

JPEG = images.jpegs()["baseline.jpg"]
SLOW = images.png(images.photo(2400, 1800))
ROWS = 20_000
"""More than the daemon's connection keeps in memory."""


def fill_store(daemon: Daemon) -> None:
    """As if many files had come and gone."""
    root = os.fsencode(daemon.watched)
    store = Store.open(daemon.base / "state")
    for start in range(0, ROWS, 1000):
        store.commit([SaveFile(gone(root, number)) for number in range(start, start + 1000)])
    store.commit([BaselineTaken(root)])
    store.close()


def gone(root: bytes, number: int) -> FileRecord:
    identity = Identity(1, number + 1, 1000, 0)
    return FileRecord(FileRef(root, b"%06d.jpg" % number), identity, JobState.DONE, "optimized", "a sentence" * 10)


def blot_the_middle(database: Path) -> None:
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * (size // 4))


def has_met_it(daemon: Daemon) -> bool:
    for number in range(0, ROWS, 500):
        daemon.ctl("why", daemon.watched / f"{number:06}.jpg")
    return "set aside and rebuilt" in daemon.read_log()


def nameless_files(pid: int) -> list[str]:
    """Open files of the process that have no name, in folders that have one."""
    folder = Path(f"/proc/{pid}/fd")
    targets = [os.readlink(folder / fd) for fd in os.listdir(folder)]
    return [target for target in targets if target.startswith("/") and "/#" in target]


def test_a_store_that_is_damaged_under_the_running_daemon_is_rebuilt_and_the_work_goes_on() -> None:
    with Daemon() as daemon:
        fill_store(daemon)
        daemon.start()
        assert daemon.process is not None
        daemon.wait_done(drop(daemon.watched, {"a.jpg": JPEG}))
        slow = drop(daemon.watched, {"slow.png": SLOW})[0]
        eventually(lambda: daemon.why(slow)["state"] == "active", what="a worker has it")
        blot_the_middle(daemon.base / "state" / "store.sqlite")
        eventually(lambda: has_met_it(daemon), what="the damage is met")
        eventually(lambda: "it was set aside as" in daemon.read_log(), what="the store is rebuilt")
        eventually(daemon.answers, what="it answers again")
        eventually(lambda: daemon.read_log().count("ready: ") == 2, what="it is ready again")
        daemon.wait_done(drop(daemon.watched, {"b.jpg": unique(JPEG, "b")}))
        daemon.wait_done([slow])
        assert daemon.process.poll() is None, "it is the same process"
        assert nameless_files(daemon.process.pid) == [], "the result that was not finished holds no room"
        assert daemon.stop() == 0
        daemon.start()
        assert daemon.read_log().count("it was set aside as") == 1


@pytest.mark.parametrize("what", ["database", "log", "folder"])
def test_a_store_that_is_removed_under_the_running_daemon_is_put_back_with_all_it_knew(what: str) -> None:
    with Daemon() as daemon:
        daemon.start()
        state = daemon.base / "state"
        [known] = drop(daemon.watched, {"a.jpg": JPEG})
        daemon.wait_done([known])
        if what == "folder":
            shutil.rmtree(state)
        else:
            (state / ("store.sqlite" if what == "database" else "store.sqlite-wal")).unlink()
        [other] = drop(daemon.watched, {"b.jpg": unique(JPEG, "b")})
        eventually(lambda: "removed or replaced while in use" in daemon.read_log(), what="it is noticed")
        eventually(lambda: daemon.read_log().count("ready: ") == 2, what="it is ready again")
        eventually(daemon.answers, what="it answers again")
        daemon.wait_done([other])
        daemon.kill()
        daemon.start()
        assert [daemon.why(path)["reason"] for path in (known, other)] == ["optimized", "optimized"]


def test_a_daemon_that_was_told_to_stop_stops_although_its_store_is_damaged() -> None:
    with Daemon() as daemon:
        fill_store(daemon)
        daemon.start()
        slow = drop(daemon.watched, {"slow.png": SLOW})[0]
        eventually(lambda: daemon.why(slow)["state"] == "active", what="a worker has it")
        daemon.signal(SIGTERM)
        blot_the_middle(daemon.base / "state" / "store.sqlite")
        eventually(lambda: has_met_it(daemon), what="the damage is met")
        assert daemon.ended() == 0
        assert "this is done at the next start" in daemon.read_log()
        daemon.start()
        daemon.wait_done([slow])
        assert daemon.read_log().count("it was set aside as") == 1


def test_with_existing_files_left_alone_those_of_lost_rows_are_left_alone_and_the_queued_ones_are_done() -> None:
    with Daemon() as daemon:
        drop(daemon.watched, {f"{number}.jpg": unique(JPEG, str(number)) for number in range(5)})
        before = snapshot(daemon.watched)
        daemon.start()
        eventually(lambda: len(daemon.why(daemon.watched / "4.jpg")["steps"]) > 0, what="they were looked at")
        daemon.stop()
        queued = drop(daemon.watched, {"queued.jpg": unique(JPEG, "queued")})[0]
        status = queued.stat()
        identity = Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        store = Store.open(daemon.base / "state")
        store.commit(
            [SaveFile(FileRecord(FileRef(os.fsencode(daemon.watched), b"queued.jpg"), identity, JobState.QUEUED))]
        )
        store._connection.execute(
            "UPDATE file SET uid = 77 WHERE path IN (x'312e6a7067', x'322e6a7067')"
        )  # 1.jpg, 2.jpg
        store.close()
        daemon.start()
        daemon.wait_done([queued])
        assert queued.stat().st_size < len(JPEG)
        assert "it was set aside as" in daemon.read_log()
        assert daemon.why(daemon.watched / "1.jpg")["reason"] == "existing"
        daemon.stop()
        after = snapshot(daemon.watched)
        assert {name: facts.inode for name, facts in before.items()} == {name: after[name].inode for name in before}
