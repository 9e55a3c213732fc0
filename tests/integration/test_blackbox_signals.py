"""SIGHUP, SIGTERM, SIGINT, and what a start refuses."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, drop, eventually, unique


def load(daemon: Daemon, number: int = 12) -> list[Path]:
    """Enough work to be in the middle of it for a second or two."""
    return drop(daemon.watched, {f"{n}.png": images.png(images.photo(600, 450, seed=200 + n)) for n in range(number)})


def reached(daemon: Daemon, generation: int) -> bool:
    return eventually(lambda: bool(daemon.status()["generation"] == generation), what=f"generation {generation}")


def busy(daemon: Daemon) -> bool:
    return bool(daemon.status()["workers"]["busy"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_drains_and_exits_0_with_nothing_lost(number: int) -> None:
    with Daemon() as daemon:
        daemon.start()
        load(daemon)
        before = snapshot(daemon.watched)
        eventually(lambda: busy(daemon), what="a worker is busy")
        daemon.note_tree()
        daemon.signal(number)
        assert daemon.ended() == 0
        assert compare(before, snapshot(daemon.watched)) == []
        assert daemon.survivors() == []


def test_a_second_sigterm_stops_at_once_and_the_next_start_finishes_the_rest() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = load(daemon, 10)
        before = snapshot(daemon.watched)
        eventually(lambda: busy(daemon), what="a worker is busy")
        daemon.note_tree()
        daemon.signal(signal.SIGTERM)
        time.sleep(0.05)  # one pending SIGTERM swallows the other: the first must be taken before
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.signal(signal.SIGTERM)
        daemon.ended(10)
        eventually(lambda: not daemon.survivors(), 5, "its processes are gone")
        assert {facts.kind for facts in snapshot(daemon.watched).values()} == {"file"}
        daemon.start()
        daemon.wait_done(paths, timeout_s=90)
        assert compare(before, snapshot(daemon.watched)) == []


def test_an_idle_daemon_stops_within_a_second_or_two() -> None:
    with Daemon() as daemon:
        daemon.start()
        assert daemon.stop(timeout_s=5) == 0
        assert not daemon.control.exists()
        assert daemon.survivors() == []


def test_sighup_takes_a_changed_config_over() -> None:
    with Daemon() as daemon:
        daemon.start()
        generation = daemon.status()["generation"]
        daemon.write_config(max_workers=1)
        daemon.signal(signal.SIGHUP)
        assert reached(daemon, generation + 1)
        assert daemon.status()["workers"]["max"] == 1
        assert "2 -> 1" in daemon.read_log()


def test_sighup_watches_a_folder_that_the_config_adds() -> None:
    with Daemon() as daemon:
        daemon.start()
        more = daemon.base / "more"
        more.mkdir()
        daemon.write_config(more=f'[[watch]]\npath = "{more}"\nsettle = "100ms"')
        daemon.signal(signal.SIGHUP)
        assert reached(daemon, 2)
        [path] = drop(more, {"a.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([path])
        assert daemon.why(path)["state"] == "done"


def test_who_waits_for_a_file_of_a_folder_that_is_watched_no_longer_is_told_so() -> None:
    with Daemon() as daemon, ThreadPoolExecutor() as threads:
        more = daemon.base / "more"
        more.mkdir()
        daemon.write_config(more=f'[[watch]]\npath = "{more}"')
        daemon.start()
        waiting = threads.submit(daemon.wait, [more / "never came.jpg"], timeout_s=20)
        time.sleep(0.5)  # if it were too short the test would see less, not fail
        daemon.write_config()
        daemon.signal(signal.SIGHUP)
        answer = waiting.result()
        assert answer.status == 2
        assert "lies in no watched folder" in answer.err
        assert "error" not in daemon.read_log()


def test_a_folder_watched_in_another_way_over_a_reload_loses_and_defers_nothing() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = load(daemon, 8)
        for generation in range(2, 5):
            daemon.write_config(watch=f"priority = {generation}")
            daemon.signal(signal.SIGHUP)
            paths += drop(
                daemon.watched, {f"{generation}.jpg": unique(images.jpegs()["baseline.jpg"], str(generation))}
            )
            assert reached(daemon, generation)
        daemon.wait_done(paths, timeout_s=90)
        assert daemon.status()["counts"]["done"] == len(paths)
        assert "deferred" not in daemon.read_log()


def test_sighup_with_a_broken_config_keeps_the_old_one_and_says_why() -> None:
    with Daemon() as daemon:
        daemon.start()
        daemon.config.write_text(daemon.config.read_text().replace("max = 2", 'max = "many"'))
        daemon.signal(signal.SIGHUP)
        eventually(lambda: "workers.max" in daemon.read_log(), what="the error in the log")
        status = daemon.status()
        assert (status["generation"], status["workers"]["max"]) == (1, 2)
        [path] = drop(daemon.watched, {"a.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([path])
        assert daemon.why(path)["state"] == "done"


def test_work_goes_on_over_a_reload_without_loss() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = load(daemon, 8)
        before = snapshot(daemon.watched)
        for generation in range(2, 6):
            daemon.write_config(max_workers=1 + generation % 2)
            daemon.signal(signal.SIGHUP)
            assert reached(daemon, generation)
        daemon.wait_done(paths, timeout_s=90)
        assert compare(before, snapshot(daemon.watched)) == []
        assert daemon.status()["counts"]["done"] == len(paths)


def test_a_second_instance_on_one_state_folder_is_refused() -> None:
    with Daemon() as daemon:
        daemon.start()
        second = daemon.base / "second.toml"
        second.write_text(daemon.config.read_text().replace("control.sock", "other.sock"))
        first_config, daemon.config = daemon.config, second
        refused = daemon.run(timeout_s=20)
        daemon.config = first_config
        assert refused.status not in (0, 1)
        assert "Traceback" not in refused.err
        assert len(refused.err.strip().splitlines()) == 1
        assert str(daemon.base / "state") in refused.err
        [path] = drop(daemon.watched, {"a.jpg": unique(images.jpegs()["baseline.jpg"], "still alive")})
        daemon.wait_done([path])


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("max = 2", 'max = "many"', "workers.max"),
        ("settle =", "setle =", "setle"),
        ("[workers]", "[workers", "line"),
        ('existing = "ignore"', 'existing = "perhaps"', "existing"),
    ],
)
def test_a_config_error_is_one_line_with_what_to_do_and_exit_2(old: str, new: str, key: str) -> None:
    with Daemon() as daemon:
        text = daemon.config.read_text()
        assert old in text
        daemon.config.write_text(text.replace(old, new))
        refused = daemon.run(timeout_s=20)
        assert refused.status == 2
        [line] = refused.err.splitlines()
        assert line.startswith(f"{daemon.config}: ")
        assert key in line
        assert refused.out == ""


def test_a_missing_config_is_one_line_and_exit_2() -> None:
    with Daemon() as daemon:
        daemon.config.unlink()
        refused = daemon.run(timeout_s=20)
        assert (refused.status, len(refused.err.splitlines())) == (2, 1)
        assert str(daemon.config) in refused.err
