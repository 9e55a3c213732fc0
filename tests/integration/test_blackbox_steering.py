"""Steering a real daemon: another range of workers, a pause, the queue as it will run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import images
from tests.harness import Daemon, drop, eventually


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon() as started:
        started.start()
        yield started


def drop_pictures(daemon: Daemon, count: int, first: int = 0) -> list[Path]:
    names = {f"{n}.png": images.png(images.photo(400, 300, seed=900 + n)) for n in range(first, first + count)}
    return list(drop(daemon.watched, names))


def states(daemon: Daemon) -> list[str]:
    rows: list[dict[str, str]] = daemon.ctl("jobs", "--json").json()["jobs"]
    return [row["state"] for row in rows]


def test_a_range_that_is_asked_for_is_in_force_at_once_until_it_is_given_back(daemon: Daemon) -> None:
    answer = daemon.ctl("scale", "--min", "2", "--max", "3", "--json").json()
    assert (answer["min"], answer["max"], answer["overridden"]) == (2, 3, True)
    eventually(lambda: daemon.status()["workers"]["running"] == 2, what="two workers that were asked for")
    status = daemon.status()
    assert (status["workers"]["min"], status["workers"]["max"], status["workers"]["overridden"]) == (2, 3, True)
    assert status["scaling"]["last"]["reason"] == "command"
    assert daemon.ctl("reload").status == 0
    assert daemon.status()["workers"]["max"] == 3
    assert daemon.ctl("scale", "--auto", "--json").json() == {
        "min": 0,
        "max": 2,
        "overridden": False,
        "configured": {"min": 0, "max": 2},
    }
    assert "IMGOPTD_EVENT=scale" in daemon.read_log()
    assert "IMGOPTD_REASON=command" in daemon.read_log()


def test_a_range_that_is_none_changes_nothing(daemon: Daemon) -> None:
    answer = daemon.ctl("scale", "--min", "3")
    assert answer.status == 2
    assert "3 workers at least and 2 at most is no range" in answer.err
    assert not daemon.status()["workers"]["overridden"]


def test_a_range_with_no_most_is_that_of_the_cpus(daemon: Daemon) -> None:
    answer = daemon.ctl("scale", "--max", "0", "--json").json()
    assert answer["overridden"]
    assert answer["max"] == daemon.status()["machine"]["cpus"]


def test_paused_files_wait_in_order_and_are_done_after_resume(daemon: Daemon) -> None:
    assert daemon.ctl("pause").status == 0
    paths = drop_pictures(daemon, 3)
    eventually(lambda: states(daemon) == ["queued"] * 3, what="three queued files")
    assert daemon.status()["state"] == "paused"
    assert daemon.ctl("reload").status == 0
    assert daemon.ctl("wait", "--timeout", "0.5", *paths).status == 124
    daemon.signal(signal.SIGHUP)
    eventually(lambda: daemon.status()["generation"] == 3, what="a second reload")
    status = daemon.status()
    assert (status["state"], status["backlog"]["jobs"], status["backlog"]["eta_s"]) == ("paused", 3, None)
    assert daemon.ctl("resume").status == 0
    daemon.wait_done(paths)
    assert daemon.status()["state"] == "running"


def test_a_start_ends_a_pause_and_a_stop_is_heard_in_it() -> None:
    with Daemon() as daemon:
        daemon.start()
        daemon.ctl("pause")
        daemon.ctl("scale", "--max", "1")
        paths = drop_pictures(daemon, 2)
        eventually(lambda: states(daemon) == ["queued"] * 2, what="two queued files")
        assert daemon.stop() == 0
        daemon.start()
        daemon.wait_done(paths)
        assert daemon.status()["workers"]["max"] == 2


def test_the_queue_has_estimates_once_files_were_probed_and_tells_what_ended(daemon: Daemon) -> None:
    daemon.ctl("scale", "--max", "1")
    paths = drop(daemon.watched, {f"{n}.png": images.png(images.photo(700, 500, seed=950 + n)) for n in range(6)})

    def queued() -> list[dict[str, object]]:
        rows: list[dict[str, object]] = daemon.ctl("jobs", "--state", "queued", "--json").json()["jobs"]
        return [row for row in rows if row["memory_bytes"]]

    rows = eventually(queued, what="a probed job that waits")
    assert all(row["format"] == "png" and row["cpu_s"] and row["eta_s"] for row in rows)
    assert [row["eta_s"] for row in rows] == sorted(row["eta_s"] for row in rows)  # type: ignore[type-var]
    daemon.wait_done(paths, timeout_s=90)
    ended = daemon.ctl("jobs", "--state", "done", "--limit", "4", "--json").json()
    assert (ended["shown"], ended["total"]) == (4, None)
    whole = daemon.ctl("jobs", "--state", "done", "--json").json()
    assert whole["total"] == 6
    assert {row["path"] for row in whole["jobs"]} == {str(path) for path in paths}
    assert daemon.ctl("jobs").out == "nothing waits\n"


def test_workers_tell_what_they_take_now_and_took_in_all(daemon: Daemon) -> None:
    paths = drop_pictures(daemon, 6)
    daemon.wait_done(paths)
    rows = daemon.ctl("workers", "--json").json()
    assert sum(row["jobs_done"] for row in rows) == 6
    assert sum(row["bytes_in"] for row in rows) > sum(row["bytes_out"] for row in rows) > 0
    for row in rows:
        assert row["peak_bytes"] >= row["rss_bytes"] > 0
        assert row["cpu_share"] == 0.0
        assert row["folder"] == str(daemon.watched)


def test_the_status_has_the_machine_as_it_was_last_read(daemon: Daemon) -> None:
    machine = daemon.status()["machine"]
    assert machine["cpus"] >= 1
    assert machine["limit_bytes"] >= machine["available_bytes"] > 0
    assert set(machine["unknown"]) == {name for name, value in machine.items() if value is None}
