"""Sensors on a made-up procfs and cgroup tree: what version 2 says, what changes, and what cannot be read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imgoptd.adapters.sensors import Sensors

MIB = 1 << 20
GROUP = "cgroup/app/imgoptd"


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], Sensors]:
    """A procfs and one version 2 hierarchy, of files with the given text; whatever is not given is missing."""

    def make(files: dict[str, str]) -> Sensors:
        group = tmp_path / "cgroup"
        known = {
            "self/cgroup": "0::/app/imgoptd\n",
            "self/mountinfo": f"41 31 0:38 / {group} rw - cgroup2 cgroup2 rw\n",
            "meminfo": "MemTotal: 1048576 kB\nMemAvailable: 1000000 kB\n",
        }
        for name, text in {**known, **files}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Sensors(proc=str(tmp_path))

    return make


def test_version_2_counts_the_high_mark_and_takes_droppable_cache_for_free(
    tree: Callable[[dict[str, str]], Sensors],
) -> None:
    sensed = tree(
        {
            "cgroup/app/imgoptd/memory.max": "max\n",
            "cgroup/app/imgoptd/memory.high": f"{200 * MIB}\n",
            "cgroup/app/imgoptd/memory.current": f"{150 * MIB}\n",
            "cgroup/app/imgoptd/memory.stat": f"anon 1\ninactive_file {40 * MIB}\nactive_file {20 * MIB}\n",
            "cgroup/app/memory.max": f"{300 * MIB}\n",
            "cgroup/app/memory.current": f"{160 * MIB}\n",
        }
    ).read({})

    assert sensed.limit_bytes == 200 * MIB
    assert sensed.available_bytes == 100 * MIB


def test_a_group_over_its_limit_leaves_nothing_not_less(tree: Callable[[dict[str, str]], Sensors]) -> None:
    sensed = tree(
        {
            "cgroup/app/imgoptd/memory.high": f"{100 * MIB}\n",
            "cgroup/app/imgoptd/memory.current": f"{150 * MIB}\n",
        }
    ).read({})

    assert sensed.available_bytes == 0


def test_the_worse_pressure_of_machine_and_group_is_told(tree: Callable[[dict[str, str]], Sensors]) -> None:
    sensed = tree(
        {
            "pressure/memory": "some avg10=28.00 avg60=0 avg300=0 total=5\n",
            "cgroup/app/imgoptd/memory.pressure": "some avg10=55.00 avg60=0 avg300=0 total=5\n",
        }
    ).read({})

    assert sensed.psi_some_avg10 == 55.0


def test_pressure_is_a_rate_of_its_own_between_readings(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors]
) -> None:
    pressure = "some avg10=0.00 avg60=0 avg300=0 total=1000000\n"
    sensors = tree({"pressure/memory": pressure, "meminfo": "MemTotal: 1048576 kB\nMemAvailable: 100000 kB\n"})
    assert sensors.read({}).psi_some_rate is None
    began_s = time.monotonic()
    time.sleep(0.2)
    (tmp_path / "pressure/memory").write_text("some avg10=0.00 avg60=0 avg300=0 total=1100000\n")
    rate = sensors.read({}).psi_some_rate
    most_s = time.monotonic() - began_s + 0.1

    assert rate is not None
    assert 0.1 / most_s < rate <= 0.5


def test_a_cpu_quota_rounds_up_to_whole_cpus_and_never_to_none(tree: Callable[[dict[str, str]], Sensors]) -> None:
    sensors = tree({"cgroup/app/cpu.max": "20000 100000\n"})

    assert sensors.read({}).cpus == 1
    assert sensors.limits().cpus == 1


def test_where_nothing_can_be_read_all_is_unknown_and_nothing_is_zero(tmp_path: Path) -> None:
    sensors = Sensors(proc=str(tmp_path))
    sensed = sensors.read({})

    assert (sensed.available_bytes, sensed.limit_bytes) == (None, None)
    assert (sensed.psi_some_avg10, sensed.psi_some_rate, sensed.others_cpus) == (None, None, None)
    assert sensed.workers == ()
    assert sensors.limits().memory_bytes is None
    assert sensors.oom_kills() is None


def test_a_process_that_is_moved_to_another_group_is_followed(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors]
) -> None:
    sensors = tree({"cgroup/other/memory.max": f"{64 * MIB}\n"})
    assert sensors.limits().memory_bytes == 1024 * MIB
    (tmp_path / "self/cgroup").write_text("0::/other\n")

    assert sensors.limits().memory_bytes == 64 * MIB


def test_oom_kills_are_counted_where_the_group_counts_them(tree: Callable[[dict[str, str]], Sensors]) -> None:
    machine = {"vmstat": "nr_free_pages 5\noom_kill 7\n"}

    assert tree(machine).oom_kills() == 7
    assert tree({**machine, "cgroup/app/imgoptd/memory.events": "oom 3\noom_kill 2\n"}).oom_kills() == 2


def test_a_quota_is_told_in_parts_of_a_cpu_and_followed_when_it_changes(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors]
) -> None:
    sensors = tree({f"{GROUP}/cpu.max": "50000 100000\n"})
    sensed = sensors.read({})
    assert (sensed.cpus, sensed.cpu_quota) == (1, 0.5)

    (tmp_path / GROUP / "cpu.max").write_text("max 100000\n")
    sensed = sensors.read({})

    assert (sensed.cpus, sensed.cpu_quota) == (len(os.sched_getaffinity(0)), None)


def test_limits_of_memory_are_followed_when_they_change(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors]
) -> None:
    sensors = tree({f"{GROUP}/memory.max": f"{300 * MIB}\n", f"{GROUP}/memory.current": f"{MIB}\n"})
    assert sensors.read({}).limit_bytes == 300 * MIB

    (tmp_path / GROUP / "memory.max").write_text(f"{64 * MIB}\n")
    sensed = sensors.read({})

    assert (sensed.limit_bytes, sensed.available_bytes) == (64 * MIB, 63 * MIB)


def stat_of(busy_ticks: int) -> str:
    return "".join(f"cpu{number} {busy_ticks} 0 0 0 0 0 0 0 0 0\n" for number in os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "least", "most"), [("max", 0.5, 64.0), ("50000", 0.0, 0.5)])
def test_who_is_busy_on_cpus_that_a_quota_keeps_from_us_takes_nothing_from_us(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors], quota: str, least: float, most: float
) -> None:
    sensors = tree({f"{GROUP}/cpu.max": f"{quota} 100000\n", "stat": stat_of(0)})
    began_s = time.monotonic()
    sensors.read({})
    time.sleep(0.2)
    (tmp_path / "stat").write_text(stat_of(int((time.monotonic() - began_s) * 100)))  # all CPUs were busy all the time
    others = sensors.read({}).others_cpus

    assert others is not None
    assert least <= others <= most


def test_neighbours_under_the_quota_that_we_share_count_as_others(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors]
) -> None:
    sensors = tree(
        {f"{GROUP}/cpu.max": "50000 100000\n", f"{GROUP}/cpu.stat": "usage_usec 0\nuser_usec 0\n", "stat": stat_of(0)}
    )
    sensors.read({})
    began_s = time.monotonic()
    time.sleep(0.2)
    seconds = time.monotonic() - began_s
    (tmp_path / GROUP / "cpu.stat").write_text(f"usage_usec {int(seconds * 0.5e6)}\nuser_usec 0\n")
    others = sensors.read({}).others_cpus

    assert others is not None
    assert 0.05 < others <= 0.5, "the machine is idle, and half of a CPU in the group is not ours"


def test_on_a_roomy_machine_who_waits_under_a_limit_of_his_own_is_no_pressure_of_ours(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors]
) -> None:
    some = "some avg10={} avg60=0 avg300=0 total={}\n"
    sensors = tree({"pressure/memory": some.format(90.0, 0), f"{GROUP}/memory.pressure": some.format(1.0, 0)})
    sensors.read({})
    time.sleep(0.15)
    (tmp_path / "pressure/memory").write_text(some.format(90.0, 10_000_000))
    roomy = sensors.read({})
    (tmp_path / "meminfo").write_text("MemTotal: 1048576 kB\nMemAvailable: 100000 kB\n")
    short = sensors.read({})

    assert (roomy.psi_some_avg10, roomy.psi_some_rate) == (1.0, 0.0)
    assert (short.psi_some_avg10, short.psi_some_rate) == (90.0, 1.0)


@pytest.mark.parametrize(
    ("limit", "use", "rate"),
    [
        ("max", 64 * MIB, 0.0),
        (str(64 * MIB), 32 * MIB, 0.0),
        (str(64 * MIB), 63 * MIB, 1.0),
        (str(64 * MIB), None, 1.0),
    ],
    ids=["unlimited", "half full", "full", "of unknown use"],
)
def test_where_our_group_tells_of_no_pressure_that_of_a_roomy_machine_counts_only_if_it_is_full(
    tmp_path: Path, tree: Callable[[dict[str, str]], Sensors], limit: str, use: int | None, rate: float
) -> None:
    some = "some avg10=90.0 avg60=0 avg300=0 total={}\n"
    used = {} if use is None else {f"{GROUP}/memory.current": f"{use}\n"}
    sensors = tree({"pressure/memory": some.format(0), f"{GROUP}/memory.max": f"{limit}\n", **used})
    sensors.read({})
    time.sleep(0.15)
    (tmp_path / "pressure/memory").write_text(some.format(10_000_000))
    sensed = sensors.read({})

    assert (sensed.psi_some_avg10, sensed.psi_some_rate) == (90.0, rate)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "failing": lambda path: path.symlink_to("/proc/self/mem"),  # opens, and every read gives EIO
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_text(""),
    "garbage": lambda path: path.write_bytes(b"\xff\x00some avg10= total\nMemTotal: many kB\ncpu0 x\noom_kill\n"),
}


@pytest.mark.parametrize("way", UNREADABLE)
def test_each_sensor_that_cannot_be_read_is_unknown_and_none_is_zero(tmp_path: Path, way: str) -> None:
    group = tmp_path / "group"
    group.mkdir()
    for name in ("meminfo", "stat", "vmstat", "pressure/memory", *(f"group/memory.{one}" for one in ("max", "events"))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        UNREADABLE[way](tmp_path / name)
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/\n")
    (tmp_path / "self/mountinfo").write_text(f"41 31 0:38 / {group} rw - cgroup2 cgroup2 rw\n")
    sensors = Sensors(proc=str(tmp_path))
    sensors.read({})
    time.sleep(0.12)
    sensed = sensors.read({})

    assert (sensed.available_bytes, sensed.limit_bytes) == (None, None)
    assert (sensed.psi_some_avg10, sensed.psi_some_rate, sensed.others_cpus) == (None, None, None)
    assert sensors.oom_kills() is None
    assert sensors.pressure_rises() is None
    sensors.close()
