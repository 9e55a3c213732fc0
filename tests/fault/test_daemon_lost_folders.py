"""A watched folder goes and comes back while the daemon runs."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from imgoptd.daemon.folders import CHECK_S
from tests import images
from tests.another_user import NOBODY
from tests.fault.small_disk import mount, small_disk, unmount
from tests.harness import Daemon, drop, eventually, unique

JPEG = images.jpegs()["baseline.jpg"]


def files(*names: str) -> dict[str, bytes]:
    return {name: unique(JPEG, name) for name in names}


def all_done(paths: list[Path]) -> bool:
    """Seen on the disk: `wait` would be content with a file that is deferred until its folder is back."""
    return eventually(lambda: all(path.stat().st_size < len(JPEG) for path in paths), what="all are smaller")


def trouble(daemon: Daemon) -> str:
    [folder] = daemon.status()["folders"]
    return str(folder["trouble"])


def test_a_folder_that_is_removed_and_made_again_is_watched_again() -> None:
    with Daemon() as daemon:
        daemon.start()
        daemon.wait_done(drop(daemon.watched, files("a.jpg")))
        assert trouble(daemon) == ""
        shutil.rmtree(daemon.watched)
        eventually(lambda: "No such file" in trouble(daemon), what="the loss is said")
        assert str(daemon.watched) in trouble(daemon)
        drop(daemon.watched, files("while-away.jpg"))
        eventually(lambda: not trouble(daemon), what="it is found again")
        paths = [daemon.watched / "while-away.jpg", *drop(daemon.watched, files("after/wards.jpg"))]
        assert all_done(paths)


def test_a_folder_that_is_renamed_away_is_left_alone_where_it_went_and_watched_again_when_it_is_back() -> None:
    with Daemon() as daemon:
        daemon.start()
        daemon.wait_done(drop(daemon.watched, files("a.jpg")))
        away = daemon.base / "away"
        daemon.watched.rename(away)
        eventually(lambda: trouble(daemon), what="the loss is said")
        [elsewhere] = drop(away, files("elsewhere.jpg"))
        away_content = elsewhere.read_bytes()
        daemon.watched.mkdir()
        eventually(lambda: not trouble(daemon), what="the new folder is watched")
        daemon.wait_done(drop(daemon.watched, files("new.jpg")))
        assert elsewhere.read_bytes() == away_content
        daemon.watched.rename(daemon.base / "second")
        away.rename(daemon.watched)
        back = daemon.watched / "elsewhere.jpg"
        assert all_done([back, daemon.watched / "a.jpg"])
        assert daemon.wait([back]).status == 0


def test_a_disk_that_is_unmounted_and_mounted_again_is_done_as_if_it_had_never_been_away() -> None:
    with Daemon() as daemon:
        with small_disk(daemon.watched):
            daemon.start()
            daemon.wait_done(drop(daemon.watched, files("on-the-first.jpg")))
        eventually(lambda: "another folder or filesystem" in daemon.read_log(), what="the loss is said")
        mount(daemon.watched)
        try:
            assert all_done(drop(daemon.watched, files("early.jpg")))
            assert trouble(daemon) == ""
            daemon.wait_done(drop(daemon.watched, files("later.jpg")))
        finally:
            unmount(daemon.watched)
        assert list(daemon.watched.iterdir()) == []
        assert daemon.read_log().count("is watched again") >= 1


def test_files_queued_when_their_folder_is_lost_are_done_when_it_is_back() -> None:
    with Daemon(max_workers=1) as daemon:
        daemon.start()
        made = {f"{n}.png": images.png(images.photo(500, 400, seed=400 + n)) for n in range(4)}
        paths: list[Path] = drop(daemon.watched, made)
        eventually(lambda: daemon.status()["counts"]["done"] >= 1, what="work has begun")
        away = daemon.base / "away"
        daemon.watched.rename(away)
        eventually(lambda: trouble(daemon), what="the loss is said")
        away.rename(daemon.watched)
        eventually(lambda: not trouble(daemon), what="it is found again")
        eventually(lambda: all(path.stat().st_size < len(made[path.name]) for path in paths), 40, "all are smaller")
        assert daemon.wait(paths).status == 0


def folder_of(daemon: Daemon) -> dict[str, Any]:
    [folder] = daemon.status()["folders"]
    return dict(folder)


def test_a_folder_that_is_not_there_at_the_start_is_watched_when_it_comes() -> None:
    with Daemon() as daemon:
        daemon.watched.rmdir()
        daemon.start()
        assert "No such file" in trouble(daemon)
        daemon.watched.mkdir()
        eventually(lambda: not trouble(daemon), what="it is found")
        daemon.wait_done(drop(daemon.watched, files("a.jpg")))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_root_that_may_not_be_listed_for_a_while_is_said_once_and_found_again() -> None:
    with Daemon() as daemon:
        daemon.run_as(NOBODY)
        daemon.start()
        daemon.watched.chmod(0)
        eventually(lambda: "Permission denied" in trouble(daemon), what="the loss is said")
        drop(daemon.watched, files("meanwhile.jpg"))
        os.chown(daemon.watched / "meanwhile.jpg", NOBODY, NOBODY)
        time.sleep(2.5 * CHECK_S)
        assert daemon.read_log().count("Permission denied") == 1
        daemon.watched.chmod(0o755)
        assert all_done([daemon.watched / "meanwhile.jpg"])
        assert daemon.read_log().count("is watched again") == 1
        assert (folder_of(daemon)["trouble"], folder_of(daemon)["backend"]) == ("", "native")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_subfolder_that_could_not_be_read_is_said_once_and_done_when_it_can_be() -> None:
    with Daemon() as daemon:
        daemon.run_as(NOBODY)
        closed = daemon.watched / "closed"
        [old] = drop(closed, files("old.jpg"))
        os.chown(old, NOBODY, NOBODY)
        closed.chmod(0)
        daemon.start()
        eventually(lambda: "cannot be read" in daemon.read_log(), what="it is said")
        [new] = drop(closed, files("new.jpg"))
        for path in (new, closed):
            os.chown(path, NOBODY, NOBODY)
        time.sleep(1.5 * CHECK_S)
        closed.chmod(0o755)
        assert all_done([new])
        [later] = drop(closed, files("later.jpg"))
        os.chown(later, NOBODY, NOBODY)
        assert all_done([later])
        assert daemon.read_log().count("cannot be read") == 1
        assert daemon.why(old)["reason"] == "existing"
