"""The disk of the state folder is full: nothing is lost, and it goes on by itself."""

from __future__ import annotations

import signal
from pathlib import Path

from tests import images
from tests.checker import compare, snapshot
from tests.fault.small_disk import fill, small_disk
from tests.harness import Daemon, drop, eventually, unique

JPEG = images.jpegs()["baseline.jpg"]
COMPLAINT = "the store cannot be written"


def complaints(daemon: Daemon) -> int:
    return daemon.read_log().count(COMPLAINT)


def files(start: int, number: int) -> dict[str, bytes]:
    return {f"{n}.jpg": unique(JPEG, str(n)) for n in range(start, start + number)}


def overfill(daemon: Daemon, ballast: Path) -> list[Path]:
    """Fill the disk of the state folder, and drop files until the store cannot be written; these files."""
    fill(ballast)
    dropped: list[Path] = []

    def complains() -> bool:
        if len(dropped) < 200:
            dropped.extend(drop(daemon.watched, files(100 + len(dropped), 5)))
        return complaints(daemon) > 0

    eventually(complains, what="the store complains")
    return dropped


def test_with_the_disk_of_its_state_full_nothing_is_changed_and_it_goes_on_once_there_is_room() -> None:
    with Daemon() as daemon, small_disk(daemon.base / "state") as state:
        daemon.start()
        daemon.wait_done(drop(daemon.watched, files(0, 2)))
        dropped = overfill(daemon, state / "ballast")
        more = drop(daemon.watched, files(50, 3))
        held, sizes = snapshot(daemon.watched), {path: path.stat().st_size for path in daemon.watched.iterdir()}
        seen = complaints(daemon)
        eventually(lambda: complaints(daemon) > seen, what="it is tried again, in vain")
        status = daemon.status()
        assert status["state"] == "running", "it answers meanwhile"
        assert "free some space on the filesystem of state_dir" in status["store"]["trouble"]
        assert "No space left" in daemon.read_log() or "disk is full" in daemon.read_log()
        assert [path.stat().st_size for path in more] == [len(data) for data in files(50, 3).values()]
        assert sizes == {path: path.stat().st_size for path in sizes}
        (state / "ballast").unlink()
        daemon.wait_done([*dropped, *more])
        assert compare(held, snapshot(daemon.watched)) == []
        assert all(path.stat().st_size < len(JPEG) for path in [*dropped, *more])


def test_a_daemon_that_waits_for_room_for_its_state_stops_when_told_and_loses_nothing() -> None:
    with Daemon() as daemon, small_disk(daemon.base / "state") as state:
        daemon.start()
        daemon.wait_done(drop(daemon.watched, files(0, 1)))
        dropped = overfill(daemon, state / "ballast")
        before = snapshot(daemon.watched)
        daemon.note_tree()
        daemon.signal(signal.SIGTERM)
        eventually(lambda: complaints(daemon) > 1, what="the first signal was taken in a while ago")
        daemon.signal(signal.SIGTERM)
        assert daemon.ended(10) == 0
        eventually(lambda: not daemon.survivors(), 5, "its processes are gone")
        (state / "ballast").unlink()
        daemon.start()
        daemon.wait_done(dropped)
        assert compare(before, snapshot(daemon.watched)) == []
