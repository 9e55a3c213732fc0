"""imgoptctl against a real daemon: the shapes that scripts rely on, and its exit statuses."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests import images
from tests.harness import Daemon, drop, eventually

STATUS_KEYS = {
    "workers": {"wanted", "running", "busy", "min", "max"},
    "backlog": {"jobs", "bytes", "cpu_s", "eta_s"},
    "counts": {"done", "skipped", "held", "deferred", "quarantined"},
    "bytes": {"before", "after", "saved"},
    "pressure": {"memory_some_avg10", "available_bytes", "budget_bytes", "reserved_bytes", "cpu_quota", "senses"},
    "scaling": {"state", "last"},
}
STATES = {"settling", "queued", "active", "deferred", "held", "quarantined", "done", "skipped"}


def test_status_has_every_key_at_rest_and_under_load() -> None:
    with Daemon() as daemon:
        daemon.start()
        at_rest = daemon.status()
        paths = drop(daemon.watched, {f"{n}.png": images.png(images.photo(500, 400, seed=400 + n)) for n in range(8)})
        eventually(lambda: daemon.status()["workers"]["busy"], what="a busy worker")
        loaded = daemon.status()
        daemon.wait_done(paths, timeout_s=90)
        finished = daemon.status()
    for status in (at_rest, loaded, finished):
        assert {"state", "generation", "uptime_s", "total"} <= status.keys()
        for key, parts in STATUS_KEYS.items():
            assert parts <= status[key].keys(), key
        assert STATUS_KEYS["counts"] <= status["total"]["counts"].keys()
        assert STATUS_KEYS["bytes"] <= status["total"]["bytes"].keys()
    assert at_rest["state"] == "running"
    assert at_rest["backlog"]["jobs"] == at_rest["workers"]["running"] == 0
    assert loaded["backlog"]["bytes"] > 0
    assert loaded["pressure"]["reserved_bytes"] > 0
    assert 1 <= loaded["workers"]["busy"] <= loaded["workers"]["running"] <= loaded["workers"]["max"] == 2
    assert {"from", "to", "reason"} <= loaded["scaling"]["last"].keys()
    assert finished["backlog"]["jobs"] == 0
    assert finished["counts"]["done"] == 8
    assert finished["uptime_s"] > at_rest["uptime_s"]
    assert finished["total"]["counts"]["done"] == 8
    assert finished["pressure"]["available_bytes"] > 0


def test_workers_has_a_row_for_each() -> None:
    with Daemon() as daemon:
        daemon.start()
        drop(daemon.watched, {f"{n}.png": images.png(images.photo(600, 450, seed=420 + n)) for n in range(6)})

        def busy_rows() -> list[dict[str, object]]:
            answer = daemon.ctl("workers", "--json")
            assert answer.status == 0, answer
            told = answer.json()
            rows = told["workers"] if isinstance(told, dict) else told
            return [row for row in rows if row["state"] == "busy"]

        row = eventually(busy_rows, what="a busy worker's row")[0]
        assert row["pid"] in {process.pid for process in daemon.tree()} | {row["pid"]}
        assert {"pid", "state", "job", "rss_bytes"} <= row.keys()
        assert str(daemon.watched) in str(row["job"])


def test_why_tells_the_life_of_a_file_in_order() -> None:
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"a.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([path])
        told = daemon.why(path)
        assert told["path"] == str(path)
        assert told["state"] == "done"
        times = [step["time"] for step in told["steps"]]
        assert times == sorted(times)
        assert told["steps"][-1]["step"] == "done"
        assert all(step["text"] for step in told["steps"])
        plain = daemon.ctl("why", path)
        assert plain.status == 0
        assert "a.jpg" in plain.out
        assert "done" in plain.out


def test_every_command_speaks_for_people_and_for_scripts() -> None:
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"a.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([path])
        for words in (["status"], ["workers"], ["why", path], ["wait", path], ["reload"]):
            plain, script = daemon.ctl(*words), daemon.ctl(*words, "--json")
            assert (plain.status, plain.err, script.status, script.err) == (0, "", 0, ""), words
            assert plain.out.strip(), words
            json.loads(script.out)
        assert "\x1b" not in daemon.ctl("status").out


def test_wait_returns_0_for_done_and_skipped_and_tells_each_state() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = drop(
            daemon.watched,
            {"a.jpg": images.jpegs()["baseline.jpg"], "b.webp": images.others()["a.webp"]},
        )
        answer = daemon.wait(paths)
        assert answer.status == 0
        told = answer.json()
        rows = told["files"] if isinstance(told, dict) else told
        assert [(row["path"], row["state"]) for row in rows] == [(str(paths[0]), "done"), (str(paths[1]), "skipped")]


def test_wait_returns_124_after_its_timeout() -> None:
    with Daemon(settle="30s") as daemon:
        daemon.start()
        path = daemon.watched / "open.jpg"
        with path.open("wb") as file:
            file.write(images.jpegs()["baseline.jpg"])
            file.flush()
            assert daemon.wait([path], timeout_s=0.5).status == 124


def test_a_path_outside_the_watched_folders_is_refused_with_a_reason() -> None:
    with Daemon() as daemon:
        daemon.start()
        for command in ("why", "wait"):
            answer = daemon.ctl(command, "/etc/hostname")
            assert answer.status == 2, answer
            assert len(answer.err.splitlines()) == 1
            assert "watched" in answer.err


def test_reload_prints_the_changes_or_the_error() -> None:
    with Daemon() as daemon:
        daemon.start()
        daemon.write_config(max_workers=1)
        told = daemon.ctl("reload")
        assert told.status == 0, told
        assert "2 -> 1" in told.out
        daemon.config.write_text("[workers]\nmax = -1\n")
        refused = daemon.ctl("reload")
        assert refused.status not in (0, 124), refused
        assert "workers.max" in refused.out + refused.err
        assert daemon.status()["workers"]["max"] == 1


def test_without_a_daemon_it_says_so_in_one_line_and_exits_2() -> None:
    with Daemon() as daemon:
        answer = daemon.ctl("status")
        assert answer.status == 2
        assert len(answer.err.splitlines()) == 1
        assert str(daemon.control) in answer.err


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_can_ask_the_control_socket_too() -> None:
    with Daemon() as daemon:
        daemon.start()
        command = ["curl", "-sS", "--unix-socket", str(daemon.control), "http://localhost/v1/status"]
        asked = subprocess.run(command, capture_output=True, check=True)
        assert json.loads(asked.stdout)["state"] == "running"


def test_paths_given_relative_to_the_working_folder_are_found() -> None:
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"sub/a.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([path])
        answer = daemon.ctl("why", "../sub/./a.jpg", "--json", cwd=path.parent)
        assert answer.status == 0, answer
        assert answer.json()["state"] in STATES
