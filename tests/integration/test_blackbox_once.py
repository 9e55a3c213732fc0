"""`--once` and `--check`."""

from __future__ import annotations

import os

from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, drop


def test_once_does_what_stands_there_and_exits_0() -> None:
    made = images.good() | images.special_jpegs() | images.others()
    with Daemon() as daemon:
        drop(daemon.watched, made)
        before = snapshot(daemon.watched)
        done = daemon.run("--once")
        assert done.status == 0, done
        after = snapshot(daemon.watched)
        assert compare(before, after) == []
        shrunk = {os.fsdecode(name) for name in before if before[name].content != after[name].content}
        assert set(images.jpegs()) <= shrunk
        assert not daemon.control.exists()


def test_once_again_changes_nothing_more() -> None:
    with Daemon() as daemon:
        drop(daemon.watched, images.jpegs())
        assert daemon.run("--once").status == 0
        first = snapshot(daemon.watched)
        assert daemon.run("--once").status == 0
        assert snapshot(daemon.watched) == first


def test_once_in_an_empty_folder_exits_0() -> None:
    with Daemon() as daemon:
        assert daemon.run("--once", timeout_s=30).status == 0


def test_once_does_the_folders_that_are_there_and_says_which_is_not() -> None:
    with Daemon() as daemon:
        missing = daemon.base / "missing"
        daemon.write_config(more=f'[[watch]]\npath = "{missing}"')
        [path] = drop(daemon.watched, {"a.jpg": images.jpegs()["baseline.jpg"]})
        before = path.stat().st_size
        done = daemon.run("--once", timeout_s=30)
        assert done.status == 1, done
        assert f"{missing}: No such file or directory" in done.err
        assert path.stat().st_size < before


def test_once_leaves_no_process_behind() -> None:
    with Daemon() as daemon:
        drop(daemon.watched, images.jpegs())
        daemon.spawn("--once")
        while daemon.process is not None and daemon.process.poll() is None:
            daemon.note_tree()
        assert daemon.ended() == 0
        assert daemon.survivors() == []


def test_once_says_by_its_status_that_a_file_was_quarantined_or_deferred() -> None:
    with Daemon() as daemon:
        drop(daemon.watched, {"good.jpg": images.jpegs()["baseline.jpg"]} | images.damaged())
        before = snapshot(daemon.watched)
        done = daemon.run("--once")
        assert compare(before, snapshot(daemon.watched)) == []
        daemon.start()
        states = {daemon.why(daemon.watched / os.fsdecode(name))["state"] for name in before}
        assert done.status == int(bool(states & {"quarantined", "deferred"})), states
        assert "done" in states


def test_check_finds_a_sound_setup_startable_and_changes_nothing() -> None:
    with Daemon() as daemon:
        drop(daemon.watched, images.jpegs())
        before = snapshot(daemon.base)
        found = daemon.run("--check", timeout_s=30)
        assert found.status in (0, 1), found  # 1 where the machine itself deserves a warning
        assert str(daemon.watched) in found.out
        after = snapshot(daemon.base)
        assert {name for name in after if name.startswith(b"watched")} == {
            name for name in before if name.startswith(b"watched")
        }
        assert compare(before, {name: facts for name, facts in after.items() if name in before}) == []


def test_check_warns_of_a_missing_folder_and_says_how_to_mend_it() -> None:
    with Daemon() as daemon:
        daemon.watched.rmdir()
        found = daemon.run("--check", timeout_s=30)
        assert found.status == 1
        assert str(daemon.watched) in found.out
        assert "mkdir" in found.out or "create" in found.out


def test_check_works_beside_a_running_daemon() -> None:
    with Daemon() as daemon:
        daemon.start()
        assert daemon.run("--check", timeout_s=30).status in (0, 1)
        [path] = drop(daemon.watched, {"a.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([path])
