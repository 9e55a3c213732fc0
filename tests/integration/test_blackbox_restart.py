"""What a stop and a start keep, take up again, and leave alone."""

from __future__ import annotations

import os
import time
from typing import Any

from imgoptd.adapters.store import Store
from imgoptd.core.commands import BaselineBegun
from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, drop, eventually, unique


def steps(told: dict[str, Any]) -> list[tuple[object, object]]:
    return [(step["time"], step["step"]) for step in told["steps"]]


def test_what_stood_there_when_first_watched_is_left_alone() -> None:
    with Daemon(existing="ignore") as daemon:
        drop(daemon.watched, {"old.jpg": images.jpegs()["baseline.jpg"], "sub/old.png": images.pngs()["rgb.png"]})
        before = snapshot(daemon.watched)
        daemon.start()
        [new] = drop(daemon.watched, {"new.jpg": images.jpegs()["grey.jpg"]})
        daemon.wait_done([new])
        after = snapshot(daemon.watched)
        assert {name: after[name] for name in before} == before
        assert daemon.status()["counts"]["done"] == 1


def test_what_came_after_a_crash_in_the_first_scan_is_done_and_what_stood_there_before_is_left_alone() -> None:
    with Daemon(existing="ignore") as daemon:
        [old] = drop(daemon.watched, {"old.jpg": images.jpegs()["baseline.jpg"]})
        store = Store.open(daemon.base / "state")
        # As a daemon leaves it that was killed before its first scan was complete.
        store.commit([BaselineBegun(os.fsencode(daemon.watched), old.stat().st_ctime_ns + 1)])
        store.close()
        time.sleep(0.1)  # the clock that stamps files has its ticks
        [new] = drop(daemon.watched, {"new.jpg": images.jpegs()["grey.jpg"]})
        daemon.start()
        daemon.wait_done([new])
        assert (daemon.why(new)["state"], daemon.why(old)["reason"]) == ("done", "existing")


def test_what_stood_there_is_done_where_the_config_asks_for_it() -> None:
    with Daemon(existing="optimize") as daemon:
        paths = drop(daemon.watched, {"old.jpg": images.jpegs()["baseline.jpg"], "s/old.png": images.pngs()["rgb.png"]})
        daemon.start()
        daemon.wait_done(paths)
        assert daemon.status()["counts"]["done"] == 2


def test_files_that_came_or_changed_while_the_daemon_was_down_are_done() -> None:
    data = images.jpegs()["baseline.jpg"]
    with Daemon(existing="ignore") as daemon:
        drop(daemon.watched, {"old.jpg": unique(data, "old")})
        daemon.start()
        [first] = drop(daemon.watched, {"first.jpg": unique(data, "first")})
        daemon.wait_done([first])
        assert daemon.stop() == 0
        came = drop(
            daemon.watched,
            {"came.jpg": unique(data, "came"), "new/sub/came.jpg": unique(data, "c2"), "first.jpg": data},
        )
        daemon.start()
        daemon.wait_done(came)
        assert all(path.stat().st_size < len(data) for path in came)
        assert (daemon.watched / "old.jpg").read_bytes() == unique(data, "old")


def test_a_finished_file_is_not_done_again_by_the_next_start() -> None:
    made = {name: images.jpegs()[name] for name in ("baseline.jpg", "grey.jpg", "icc.JPG")}
    skipped = {name: images.special_jpegs()[name] for name in ("trailer.jpg", "two-pictures.jpg")}
    with Daemon(existing="optimize") as daemon:
        daemon.start()
        paths = drop(daemon.watched, made | skipped)
        daemon.wait_done(paths)
        first, told = snapshot(daemon.watched), [steps(daemon.why(path)) for path in paths]
        total = daemon.status()["total"]
        assert daemon.stop() == 0
        daemon.start()
        [new] = drop(daemon.watched, {"new.jpg": images.jpegs()["xmp.jpg"]})
        daemon.wait_done([new, *paths])
        again = snapshot(daemon.watched)
        assert {name: again[name] for name in first} == first
        assert [steps(daemon.why(path)) for path in paths] == told
        status = daemon.status()
        assert (status["counts"]["done"], status["counts"]["skipped"]) == (1, 0)
        assert (total["counts"]["done"], status["total"]["counts"]["done"]) == (3, 4)
        assert status["total"]["bytes"]["saved"] == total["bytes"]["saved"] + status["bytes"]["saved"]


def test_what_was_queued_when_it_was_killed_is_finished_by_the_next_start() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = drop(daemon.watched, {f"{n}.png": images.png(images.photo(500, 400, seed=300 + n)) for n in range(10)})
        before = snapshot(daemon.watched)
        eventually(lambda: daemon.status()["backlog"]["jobs"] > 2, what="a backlog")
        daemon.kill()
        daemon.start()
        daemon.wait_done(paths, timeout_s=90)
        assert compare(before, snapshot(daemon.watched)) == []
        for path in paths:
            assert [name for _, name in steps(daemon.why(path))].count("done") == 1


def test_no_process_outlives_a_killed_daemon() -> None:
    with Daemon() as daemon:
        daemon.start()
        drop(daemon.watched, {f"{n}.png": images.png(images.photo(600, 450, seed=320 + n)) for n in range(6)})
        eventually(lambda: daemon.status()["workers"]["busy"], what="a busy worker")
        daemon.note_tree()
        daemon.kill()
        eventually(lambda: not daemon.survivors(), 10, "its processes are gone")


def test_a_killed_worker_costs_its_file_a_retry_and_nothing_more() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = drop(daemon.watched, {f"{n}.png": images.png(images.photo(600, 450, seed=340 + n)) for n in range(8)})
        before = snapshot(daemon.watched)
        eventually(lambda: daemon.status()["workers"]["busy"], what="a busy worker")
        workers = eventually(daemon.workers, what="a worker process")
        workers[0].kill()
        daemon.wait_done(paths, timeout_s=90)
        assert compare(before, snapshot(daemon.watched)) == []
        assert daemon.status()["counts"]["done"] == len(paths)
