"""Owners and folders: a worker serves one of each, owners are kept, and folders come and go by SIGHUP."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, drop, eventually, unique

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="files of several owners need root")
JPEG = images.jpegs()["baseline.jpg"]
OWNERS = (1201, 1202)


def pictures(number: int, seed: int) -> dict[str, bytes]:
    """Enough work to see who does it."""
    return {f"{n}.png": images.png(images.photo(600, 450, seed=seed + n)) for n in range(number)}


def rows(daemon: Daemon) -> list[dict[str, Any]]:
    answer = daemon.ctl("workers", "--json")
    assert answer.status == 0, answer
    found: list[dict[str, Any]] = answer.json()
    return found


def second_folder(daemon: Daemon) -> Path:
    """Watched as well from the next start or reload on."""
    folder = daemon.base / "second"
    folder.mkdir(exist_ok=True)
    daemon.write_config(more=f'[[watch]]\npath = "{folder}"\nsettle = "100ms"')
    return folder


def hang_up(daemon: Daemon, generation: int) -> None:
    daemon.signal(signal.SIGHUP)
    eventually(lambda: daemon.status()["generation"] == generation, what=f"generation {generation}")


@ROOT_ONLY
def test_a_worker_serves_one_owner_in_one_folder_and_owners_are_kept() -> None:
    with Daemon() as daemon:
        folders = (daemon.watched, second_folder(daemon))
        staged = [daemon.base / f"staged-{folder.name}" for folder in folders]
        for number, stage in enumerate(staged):
            for owner in OWNERS:
                made = pictures(2, 500 + 100 * number + owner)
                for path in drop(stage, {f"{owner}-{name}": data for name, data in made.items()}):
                    os.chown(path, owner, owner + 10)
        before = [snapshot(stage) for stage in staged]
        daemon.start()
        paths = [folder / path.name for folder, stage in zip(folders, staged, strict=True) for path in stage.iterdir()]
        for path in paths:
            (daemon.base / f"staged-{path.parent.name}" / path.name).rename(path)
        served: dict[int, set[tuple[str, int]]] = {}

        def finished() -> bool:
            for row in rows(daemon):
                domains = served.setdefault(row["worker"], set())
                domains.add((row["folder"], row["uid"]))
                if row["job"]:
                    job = Path(row["job"])
                    domains.add((str(job.parent), int(job.name.split("-")[0])))
            return bool(daemon.status()["counts"]["done"] == len(paths))

        eventually(finished, 60, "all are done")
        assert all(len(domains) == 1 for domains in served.values()), served
        assert set().union(*served.values()) <= {(str(folder), owner) for folder in folders for owner in OWNERS}
        assert len(served) >= 4
        for folder, facts in zip(folders, before, strict=True):
            assert compare(facts, snapshot(folder)) == []
        assert {(path.stat().st_uid, path.stat().st_gid) for path in paths} == {(one, one + 10) for one in OWNERS}


@ROOT_ONLY
def test_an_own_user_does_its_own_files_and_leaves_the_others_with_a_clear_reason() -> None:
    with Daemon() as daemon:
        daemon.run_as(OWNERS[0])
        daemon.start()
        made = drop(
            daemon.base / "staged", {f"{name}.jpg": unique(JPEG, name) for name in ("own", "readable", "closed")}
        )
        own, readable, closed = (daemon.watched / path.name for path in made)
        os.chown(made[0], OWNERS[0], OWNERS[0])
        for path, mode in zip(made, (0o640, 0o644, 0o600), strict=True):
            path.chmod(mode)
            path.rename(daemon.watched / path.name)
        before = snapshot(daemon.watched)
        daemon.wait_done([own])
        assert own.stat().st_size < len(JPEG)
        daemon.wait([readable, closed])
        told = daemon.why(readable)
        assert (told["state"], told["reason"]) == ("skipped", "owner-not-kept")
        assert "run the daemon as that user, as root" in told["detail"]
        told = daemon.why(closed)
        assert (told["state"], told["reason"]) == ("deferred", "unreadable")
        assert "Permission denied" in told["detail"]
        assert compare(before, snapshot(daemon.watched)) == []
        assert (readable.stat().st_size, closed.stat().st_size) == (
            made_size := len(unique(JPEG, "readable")),
            made_size - 2,
        )
        assert {process.uids().real for process in daemon.workers()} <= {OWNERS[0]}


def test_sighup_that_removes_a_folder_leaves_its_files_alone_until_it_is_added_again() -> None:
    with Daemon() as daemon:
        folder = second_folder(daemon)
        daemon.start()
        daemon.wait_done(drop(folder, {"a.jpg": unique(JPEG, "a")}))
        daemon.write_config()
        hang_up(daemon, 2)
        assert [one["path"] for one in daemon.status()["folders"]] == [str(daemon.watched)]
        [left] = drop(folder, {"left.jpg": unique(JPEG, "left")})
        content = left.read_bytes()
        answer = daemon.ctl("why", left, "--json")
        assert answer.status != 0 and "not" in answer.out + answer.err
        daemon.wait_done(drop(daemon.watched, {"b.jpg": unique(JPEG, "b")}))
        assert left.read_bytes() == content
        second_folder(daemon)
        hang_up(daemon, 3)
        daemon.wait_done([left])
        assert left.stat().st_size < len(content)


def test_files_that_wait_when_their_folder_is_removed_are_done_once_it_is_added_again() -> None:
    with Daemon(max_workers=1) as daemon:
        folder = second_folder(daemon)
        daemon.config.write_text(daemon.config.read_text().replace("max = 2", "max = 1"))
        daemon.start()
        paths = drop(folder, pictures(5, 700))
        before = snapshot(folder)
        eventually(lambda: daemon.status()["counts"]["done"] >= 1, what="work has begun")
        daemon.write_config(max_workers=1)
        hang_up(daemon, 2)
        eventually(lambda: not daemon.status()["backlog"]["jobs"], what="nothing of it waits or runs")
        assert daemon.status()["counts"]["done"] < len(paths)
        daemon.wait_done(drop(daemon.watched, {"b.jpg": unique(JPEG, "b")}))
        second_folder(daemon)
        hang_up(daemon, 3)
        daemon.wait_done(paths)
        assert compare(before, snapshot(folder)) == []
        assert all(path.stat().st_size < len(pictures(5, 700)[path.name]) for path in paths)


def test_sighup_with_fewer_workers_lets_the_surplus_go() -> None:
    with Daemon() as daemon:
        daemon.config.write_text(daemon.config.read_text().replace("max = 2", "min = 2\nmax = 2"))
        daemon.start()
        paths = drop(daemon.watched, pictures(5, 800))
        eventually(lambda: daemon.status()["workers"]["running"] == 2, what="two workers")
        daemon.write_config(max_workers=1)
        hang_up(daemon, 2)
        assert daemon.status()["workers"]["max"] == 1
        eventually(lambda: daemon.status()["workers"]["running"] == 1, what="one worker")
        assert "IMGOPTD_REASON=limits" in daemon.read_log()
        daemon.wait_done(paths)
