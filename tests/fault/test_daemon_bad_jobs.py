"""Files that end or stop their worker, and a template that is killed: the other files are done all the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil

from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, drop, eventually, unique

POISON = images.jpeg_that_ends_its_codec()


def set_workers(daemon: Daemon, line: str) -> None:
    config = daemon.config.read_text()
    daemon.config.write_text(config.replace("[workers]\n", f"[workers]\n{line}\n"))


def rows(daemon: Daemon) -> list[dict[str, Any]]:
    answer = daemon.ctl("workers", "--json")
    assert answer.status == 0, answer
    found: list[dict[str, Any]] = answer.json()
    return found


def small_files(number: int) -> dict[str, bytes]:
    data = images.jpegs()["baseline.jpg"]
    return {f"{n}.jpg": unique(data, str(n)) for n in range(number)}


def test_a_file_that_kills_its_worker_twice_is_quarantined_and_stops_no_other() -> None:
    with Daemon() as daemon:
        daemon.start()
        [poison, twin] = drop(daemon.watched, {"poison.jpg": POISON, "twin.jpg": unique(POISON, "again")})
        others = drop(daemon.watched, small_files(10))
        before = snapshot(daemon.watched)
        daemon.wait_done(others)
        answer = daemon.wait([poison, twin])
        assert answer.status == 1
        for path in (poison, twin):
            life = daemon.why(path)
            assert (life["state"], life["reason"], life["attempts"]) == ("quarantined", "worker-exited", 2)
            assert "exit status 1" in life["detail"] and "jpeg (mozjpeg-lossless-optimization 1." in life["detail"]
            assert "DCT coefficient" in life["detail"], "what MozJPEG said is told"
            assert any("tried once more" in step["text"] for step in life["steps"])
        assert poison.read_bytes() == POISON
        assert compare(before, snapshot(daemon.watched)) == []
        counts = daemon.status()["counts"]
        assert (counts["done"], counts["quarantined"]) == (10, 2)
        lost = [line for line in daemon.read_log().splitlines() if "lost:" in line]
        assert len(lost) == 4


def test_a_job_that_takes_too_long_is_ended_tried_once_more_and_quarantined() -> None:
    with Daemon(max_workers=1) as daemon:
        set_workers(daemon, 'job_timeout = "1s"')
        daemon.start()
        [large] = drop(daemon.watched, {"large.png": images.png(images.photo(1600, 1200, seed=5))})
        original = large.read_bytes()
        stopped: set[int] = set()

        def quarantined() -> bool:
            for row in rows(daemon):
                if row["state"] == "busy" and row["pid"] not in stopped:
                    os.kill(row["pid"], signal.SIGSTOP)
                    stopped.add(row["pid"])
            return bool(daemon.why(large)["state"] == "quarantined")

        eventually(lambda: daemon.ctl("why", large, "--json").status == 0, what="the file is seen")
        eventually(quarantined, what="the file is quarantined")
        life = daemon.why(large)
        assert (life["reason"], life["attempts"]) == ("timeout", 2)
        assert "job_timeout" in life["detail"]
        assert len(stopped) == 2
        assert large.read_bytes() == original
        daemon.wait_done(drop(daemon.watched, small_files(3)))
        assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() == "stopped" for pid in stopped)


def test_a_template_killed_under_load_costs_no_file_its_name() -> None:
    with Daemon() as daemon:
        daemon.start()
        made = {f"{n}.png": images.png(images.photo(500, 400, seed=300 + n)) for n in range(4)}
        paths: list[Path] = drop(daemon.watched, made)
        before = snapshot(daemon.watched)
        eventually(lambda: any(row["state"] == "busy" for row in rows(daemon)), what="a worker is busy")
        daemon.note_tree()
        template = daemon.tree()[0]
        template.kill()
        template.wait(20)
        daemon.wait_done(paths)
        assert compare(before, snapshot(daemon.watched)) == []
        assert daemon.status()["counts"]["done"] == len(paths)
        assert {daemon.why(path)["attempts"] for path in paths} == {0}, "no file is blamed"
