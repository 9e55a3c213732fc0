"""What the kernel's files say, given their text."""

from __future__ import annotations

import os

import pytest

from imgoptd.adapters import cgroup, process_stats, psi, sensors

MEMINFO = """MemTotal:       24684084 kB
MemFree:        24004516 kB
MemAvailable:   24189412 kB
HugePages_Total:       0
"""

PRESSURE = """some avg10=28.06 avg60=7.10 avg300=1.55 total=4981223
full avg10=1.00 avg60=0.50 avg300=0.10 total=81223
"""

STAT = """cpu  1100 20 330 9000 50 1 2 40 500 0
cpu0 1000 20 300 4000 40 1 2 10 500 0
cpu1 100 0 30 5000 10 0 0 30 0 0
cpu10 7 7 7 7 7 7 7 7 7 7
intr 1 2 3
ctxt 99
"""

HYBRID = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:1 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""

HYBRID_SELF = """9:name=systemd:/
4:memory:/system.slice/imgoptd.service
1:cpu,cpuacct:/system.slice
0::/system.slice/imgoptd.service
"""


def test_memory_is_read_in_bytes_and_what_is_missing_is_unknown() -> None:
    assert sensors.parse_meminfo(MEMINFO) == (24189412 * 1024, 24684084 * 1024)
    assert sensors.parse_meminfo("MemTotal: 8 kB\n") == (None, 8192)
    assert sensors.parse_meminfo("") == (None, None)


def test_pressure_is_its_some_line() -> None:
    assert psi.parse_pressure(PRESSURE) == psi.Pressure(28.06, 4981223)


@pytest.mark.parametrize("text", ["", "full avg10=1.00 total=5\n", "some avg10=1.00\n", "some avg10=x total=5\n"])
def test_pressure_that_cannot_be_read_is_unknown(text: str) -> None:
    assert psi.parse_pressure(text) is None


def test_busy_time_counts_stolen_time_but_neither_waiting_nor_guests_twice() -> None:
    assert sensors.parse_busy_ticks(STAT, {0}) == 1000 + 20 + 300 + 1 + 2 + 10
    assert sensors.parse_busy_ticks(STAT, {0, 1}) == 1333 + 160


def test_busy_time_of_no_known_cpu_is_unknown() -> None:
    assert sensors.parse_busy_ticks(STAT, {7}) is None
    assert sensors.parse_busy_ticks("", {0}) is None


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("268435456\n", 268435456),
        ("max\n", None),
        ("9223372036854771712\n", None),
        ("0\n", 0),
        ("", None),
        ("-1", None),
    ],
)
def test_an_unlimited_group_has_no_limit_in_either_version(text: str, limit: int | None) -> None:
    assert cgroup.parse_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "cpus"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), ("5 0\n", None)]
)
def test_a_quota_of_version_2_is_a_number_of_cpus(text: str, cpus: float | None) -> None:
    assert cgroup.parse_cpu_max(text) == cpus


def test_a_quota_of_version_1_is_a_number_of_cpus() -> None:
    assert cgroup.cpus_of_quota("50000\n", "100000\n") == 0.5
    assert cgroup.cpus_of_quota("-1\n", "100000\n") is None


def test_a_key_is_found_whole_in_a_flat_file() -> None:
    text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    assert cgroup.parse_flat(text, "oom_kill") == 3
    assert cgroup.parse_flat(text, "oom") is None


def test_the_groups_of_a_hybrid_machine_are_walked_from_the_innermost_out() -> None:
    groups = cgroup.Groups(HYBRID, HYBRID_SELF)

    assert groups.v1_memory == [
        "/sys/fs/cgroup/memory/system.slice/imgoptd.service",
        "/sys/fs/cgroup/memory/system.slice",
        "/sys/fs/cgroup/memory",
    ]
    assert groups.v1_cpu == ["/sys/fs/cgroup/cpu,cpuacct/system.slice", "/sys/fs/cgroup/cpu,cpuacct"]
    assert groups.v2[0] == "/sys/fs/cgroup/unified/system.slice/imgoptd.service"


def test_a_container_that_sees_only_its_own_part_of_the_hierarchy_starts_there() -> None:
    mounts = "1 2 0:3 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"

    assert cgroup.Groups(mounts, "4:memory:/docker/abc/inner\n").v1_memory == [
        "/sys/fs/cgroup/memory/inner",
        "/sys/fs/cgroup/memory",
    ]
    assert cgroup.Groups(mounts, "4:memory:/docker/abcdef\n").v1_memory == []


def test_no_groups_at_all_are_no_error() -> None:
    groups = cgroup.Groups("", "")

    assert groups.memory() == cgroup.Memory(None, None)
    assert groups.cpu_quota() is None
    assert groups.oom_kills() is None


def stat_line(user_ticks: int, system_ticks: int) -> str:
    fields = ["S", *["0"] * 49]
    fields[11], fields[12] = str(user_ticks), str(system_ticks)
    return f"77 (a) b) (R) {' '.join(fields)}\n"


def test_a_process_whose_name_is_full_of_parentheses_is_read_right() -> None:
    hz, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")

    assert process_stats.parse(stat_line(3 * hz, hz), "50 10 5 1 0 9 0\n") == process_stats.Taken(4.0, 10 * page)


def test_a_zombie_has_used_cpu_time_and_holds_nothing_that_is_known() -> None:
    assert process_stats.parse(stat_line(0, 0), "0 0 0 0 0 0 0\n") == process_stats.Taken(0.0, None)


@pytest.mark.parametrize(
    ("stat", "statm"),
    [
        ("", "1 1"),
        ("77 (x) S 1 2", "1 1"),
        ("77 (x) S " + "x " * 40, "1 1"),
        (stat_line(1, 1), ""),
        (stat_line(1, 1), "1 x"),
    ],
)
def test_a_process_that_cannot_be_read_is_unknown(stat: str, statm: str) -> None:
    assert process_stats.parse(stat, statm) is None


def some(total_us: int) -> psi.Pressure:
    return psi.Pressure(0.0, total_us)


def test_a_rate_is_over_a_second_and_the_newest_over_the_last_step() -> None:
    gauge = psi.PressureGauge()
    for step in range(21):
        gauge.rates(step / 10, [some(0)])
    (rate,) = gauge.rates(2.1, [some(50_000)])

    assert rate == pytest.approx(0.05, rel=0.12)
    assert gauge.newest() == pytest.approx(0.5)


def test_what_was_read_before_a_long_rest_tells_nothing_of_now() -> None:
    gauge = psi.PressureGauge()
    gauge.rates(0.0, [some(0)])

    assert gauge.rates(3600.0, [some(360_000_000)]) == [None]
    assert gauge.rates(3600.2, [some(360_100_000)]) == [pytest.approx(0.5)]


def test_a_pressure_file_that_goes_and_comes_is_unknown_between_and_never_a_leap() -> None:
    gauge = psi.PressureGauge()
    gauge.rates(0.0, [some(0), some(0)])
    assert gauge.rates(0.5, [some(0), None]) == [0.0, None]
    assert gauge.rates(1.6, [some(0), some(9)])[1] is None


def test_the_pressure_of_the_root_group_is_the_machines_and_no_second_one() -> None:
    groups = cgroup.Groups("41 31 0:38 / /nowhere/unified rw - cgroup2 cgroup2 rw\n", "0::/\n")

    assert groups.pressure_file is None
    own = "/sys/fs/cgroup/unified/system.slice/imgoptd.service/memory.pressure"
    assert cgroup.Groups(HYBRID, HYBRID_SELF).pressure_file == own
