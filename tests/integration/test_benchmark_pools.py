"""What the live contest rests on: a cgroup whose kills are counted, and a pool that does again what was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import live_pools, memory_group, static_pool
from benchmarks.memory_group import Group
from tests import images

MIB = 1 << 20
HOARDER = "held = bytearray(96 << 20); print(sum(held[::4096]))"


def group(limit_bytes: int) -> Group:
    """Skips where there can be none."""
    try:
        with Group(limit_bytes):
            return Group(limit_bytes)
    except memory_group.Unavailable as error:
        pytest.skip(str(error))


def test_a_process_that_takes_more_than_its_group_has_is_killed_and_counted() -> None:
    with group(48 * MIB) as limited:
        ended = subprocess.run(limited.entering([sys.executable, "-c", HOARDER]), capture_output=True, timeout=60)
        assert ended.returncode == -signal.SIGKILL
        assert limited.oom_kills() == 1
        assert 40 * MIB < limited.peak_bytes() <= 48 * MIB
    assert not limited.path.exists()


def test_a_process_with_enough_memory_ends_well_and_its_peak_is_seen() -> None:
    with group(256 * MIB) as limited:
        ended = subprocess.run(limited.entering([sys.executable, "-c", HOARDER]), capture_output=True, timeout=60)
        assert (ended.returncode, limited.oom_kills()) == (0, 0)
        assert limited.peak_bytes() > 96 * MIB


def test_where_there_is_no_such_group_the_reason_and_what_to_do_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_group, "TREE", tmp_path / "none")
    with pytest.raises(memory_group.Unavailable, match="run it as root where cgroup v1"), Group(MIB):
        pass


def plant(folder: Path, files: int) -> dict[str, int]:
    for number in range(files):
        (folder / f"{number}.jpg").write_bytes(images.jpeg(images.photo(seed=number), optimize=False))
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_a_static_pool_makes_every_file_smaller(tmp_path: Path) -> None:
    before = plant(tmp_path, 5)
    told = static_pool.run(tmp_path, 2, lambda: None)
    assert (told.kills, told.given_up) == (0, [])
    assert all((tmp_path / name).stat().st_size < size for name, size in before.items())
    assert len(list(tmp_path.iterdir())) == 5


def test_what_a_killed_process_worked_on_is_done_again(tmp_path: Path) -> None:
    before = plant(tmp_path, 3)
    once = tmp_path.parent / "once"

    def dies_once() -> None:
        if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    told = static_pool.run(tmp_path, 1, dies_once)
    assert (told.kills, told.given_up) == (1, [])
    assert all((tmp_path / name).stat().st_size < size for name, size in before.items())


def test_what_is_killed_each_time_is_given_up_after_three_more_tries(tmp_path: Path) -> None:
    plant(tmp_path, 1)
    told = static_pool.run(tmp_path, 1, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert (told.kills, told.given_up) == (1 + static_pool.RETRIES, ["0.jpg"])


def outcome(wall_s: float, *, oom_kills: int = 0, unfinished: int = 0) -> dict[str, object]:
    return {"wall_s": wall_s, "oom_kills": oom_kills, "unfinished": unfinished, "timeout": False}


def test_a_round_is_won_without_kills_by_the_fastest_of_those_that_finish() -> None:
    assert live_pools.failure({"imgoptd": outcome(9), "a": outcome(10), "b": outcome(5, unfinished=1)}) == ""
    assert live_pools.failure({"imgoptd": outcome(9), "a": outcome(8, oom_kills=3)}) == "slower than a"
    assert live_pools.failure({"imgoptd": outcome(9, oom_kills=1), "a": outcome(10)}) == "OOM kill"
    assert live_pools.failure({"imgoptd": outcome(9, unfinished=1), "a": outcome(10)}) == "unfinished"


def test_rounds_without_a_failure_bound_the_share_that_fails() -> None:
    assert "below 0.30 at 95 %" in live_pools.verdict([{"failed": ""}] * 10, "this run")
    assert "no bound; seed 4: OOM kill" in live_pools.verdict([{"failed": "OOM kill", "seed": 4}], "this run")
