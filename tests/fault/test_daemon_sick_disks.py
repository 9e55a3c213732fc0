"""Disks and folders that fail under many queued files: told once, nothing lost, and on again without a restart."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

from tests import images
from tests.checker import compare, snapshot
from tests.fault.small_disk import fill, small_disk
from tests.harness import Daemon, beneath, drop, eventually, unique

JPEG = images.jpegs()["baseline.jpg"]
ON_AGAIN_S = 60.0


def made(number: int) -> dict[str, bytes]:
    return {f"{n}.jpg": unique(JPEG, str(n)) for n in range(number)}


def troubles(daemon: Daemon) -> list[str]:
    """The kinds of all warnings and errors in the log, in order."""
    lines = [line for line in daemon.read_log().splitlines() if re.match(r"\S+ (warning|error): ", line)]
    return [re.findall(r"IMGOPTD_EVENT=(\S+)", line)[0] for line in lines]


def all_done(paths: list[Path], since_s: float) -> None:
    """Seen on the disk, and within a minute of the end of the cause."""
    eventually(lambda: all(path.stat().st_size < len(JPEG) for path in paths), ON_AGAIN_S + 20, "all are smaller")
    assert time.monotonic() - since_s < ON_AGAIN_S


def test_a_full_disk_under_many_files_is_told_once_and_they_are_done_when_there_is_room() -> None:
    with Daemon() as daemon, small_disk(daemon.watched, "4m") as watched:
        daemon.start()
        staged = drop(watched, {name + ".part": data for name, data in made(100).items()})
        fill(watched / "ballast.part")
        paths = [path.with_suffix("") for path in staged]
        for path, into in zip(staged, paths, strict=True):
            os.rename(path, into)
        assert daemon.wait(paths).status == 1, "whoever waits is told, and not kept waiting"
        before = snapshot(watched)
        status = daemon.status()
        assert status["counts"]["deferred"] == 100
        [breaker] = status["breakers"]
        assert (breaker["path"], breaker["reason"]) == (str(watched), "no-space")
        assert "DISK" in daemon.ctl("status").out
        told = [daemon.why(path) for path in paths[:20]]
        assert {(life["state"], life["reason"]) for life in told} == {("deferred", "no-space")}
        assert all("tried again" in life["detail"] for life in told)
        eventually(lambda: daemon.status()["breakers"][0]["for_s"] > 6, what="the disk was tried again, in vain")
        assert troubles(daemon) == ["disk-ill"]
        assert beneath(watched) == sorted(map(os.fsencode, [*paths, watched / "ballast.part"])), "no temp is left"
        (watched / "ballast.part").unlink()
        all_done(paths, time.monotonic())
        del before[b"ballast.part"]
        assert compare(before, snapshot(watched)) == []
        assert beneath(watched) == sorted(map(os.fsencode, paths))
        assert troubles(daemon) == ["disk-ill"]
        assert "a file can be written there again" in daemon.read_log()
        assert daemon.status()["breakers"] == []


def test_a_filesystem_that_turns_read_only_under_many_files_is_told_once_and_they_are_done_when_it_is_writable() -> (
    None
):
    with Daemon() as daemon, small_disk(daemon.watched, "8m") as watched:
        daemon.start()
        daemon.signal(signal.SIGSTOP)  # so that it meets them only when they can be written no more
        paths = drop(watched, made(100))
        subprocess.run(["mount", "-o", "remount,ro", watched], check=True)
        daemon.signal(signal.SIGCONT)
        assert daemon.wait(paths).status == 1
        assert {life["reason"] for life in map(daemon.why, paths[:10])} == {"read-only-filesystem"}
        assert troubles(daemon) == ["disk-ill"]
        subprocess.run(["mount", "-o", "remount,rw", watched], check=True)
        all_done(paths, time.monotonic())
        assert troubles(daemon) == ["disk-ill"]


def test_a_folder_lost_with_many_files_queued_is_told_once_and_they_are_done_when_it_is_back() -> None:
    with Daemon(max_workers=1) as daemon:
        daemon.start()
        paths = drop(daemon.watched, made(200))
        eventually(lambda: daemon.status()["counts"]["done"] >= 1, what="work has begun")
        for worker in daemon.workers():
            worker.suspend()  # so that most of them are queued still when the loss is noticed
        away = daemon.base / "away"
        daemon.watched.rename(away)
        eventually(lambda: daemon.status()["folders"][0]["trouble"], what="the loss is said")
        life = daemon.why(paths[-1])
        assert (life["state"], life["reason"]) == ("deferred", "folder-lost")
        assert "goes on when the folder is back" in life["detail"]
        for worker in daemon.workers():
            worker.resume()
        waiting = daemon.wait(paths)
        assert waiting.status == 1
        states = {(file["state"], file["reason"]) for file in waiting.json()}
        assert states == {("deferred", "folder-lost"), ("done", "optimized")}
        assert daemon.status()["backlog"]["jobs"] == 0
        away.rename(daemon.watched)
        all_done(paths, time.monotonic())
        assert daemon.wait(paths).status == 0
        assert troubles(daemon) == ["folder-lost"]


def test_files_met_while_the_daemon_has_no_descriptors_left_are_told_once_and_done_when_it_has() -> None:
    with Daemon() as daemon:
        daemon.start()
        daemon.wait_done(drop(daemon.watched, {"first.jpg": unique(JPEG, "first")}))
        assert daemon.process is not None
        pid = daemon.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        most = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd")) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 3, limits[1]))
        try:
            paths = drop(daemon.watched, made(60))
            eventually(lambda: "disk-ill" in troubles(daemon), what="the want is told")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        all_done(paths, time.monotonic())
        assert set(troubles(daemon)) == {"disk-ill"} and len(troubles(daemon)) <= 2
        assert "Too many open files" in daemon.read_log()
        assert all(daemon.why(path)["attempts"] == 0 for path in paths[:10])
