"""Sensors on the machine that runs the tests, and in real control groups."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from imgoptd.adapters.kernel_files import KernelFiles
from imgoptd.adapters.process_stats import ProcessStats
from imgoptd.adapters.sensors import Sensors
from tests.memory_groups import memory_groups, remove

MIB = 1 << 20

BURN = """
import os, sys, time
def burn(seconds):
    while sum(os.times()[:2]) < seconds: pass
"""


@contextmanager
def python(program: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `program` until it is ended here; lines both ways."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def used_cpu(pid: int, seconds: float) -> None:
    """Return once the process has used so much CPU time."""
    process = psutil.Process(pid)
    deadline = time.monotonic() + 30
    while sum(process.cpu_times()[:2]) < seconds:
        assert time.monotonic() < deadline, "the process got no CPU"
        time.sleep(0.02)


def test_a_reading_of_this_machine_agrees_with_its_own_figures() -> None:
    sensed = Sensors().read({1: os.getpid()})
    machine = psutil.virtual_memory()

    assert sensed.limit_bytes is not None and 0 < sensed.limit_bytes <= machine.total
    assert sensed.available_bytes is not None and 0 < sensed.available_bytes <= sensed.limit_bytes
    assert 1 <= sensed.cpus <= len(os.sched_getaffinity(0))
    (reading,) = sensed.workers
    assert reading.worker == 1 and reading.rss_bytes > MIB
    assert sensed.others_cpus is None, "nothing is known of CPU time after one reading"
    assert sensed.psi_some_rate is None


def test_a_worker_that_is_gone_is_left_out_of_the_reading() -> None:
    done = subprocess.Popen(["true"])
    done.wait()

    assert Sensors().read({1: done.pid, 2: os.getpid()}).workers[0].worker == 2


def test_without_a_descriptor_to_be_had_nothing_is_known_and_later_all_is_again() -> None:
    sensors = Sensors()
    had = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, had[1]))
    try:
        blind = sensors.read({1: os.getpid()})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, had)
    assert (blind.available_bytes, blind.others_cpus, blind.workers) == (None, None, ())
    sensors.read({})
    time.sleep(0.2)
    seeing = sensors.read({1: os.getpid()})
    assert seeing.others_cpus is not None
    assert len(seeing.workers) == 1


def test_cpu_time_of_our_workers_is_not_that_of_others() -> None:
    knowing, unknowing = Sensors(), Sensors()
    with python(BURN + "burn(60)") as worker:
        knowing.read({1: worker.pid})
        unknowing.read({})
        used_cpu(worker.pid, 0.5)
        ours = knowing.read({1: worker.pid}).others_cpus
        others = unknowing.read({}).others_cpus

    assert ours is not None and others is not None
    assert others - ours > 0.2


def test_cpu_time_of_a_worker_that_ended_stays_ours_through_the_process_that_forked_it() -> None:
    program = BURN + (
        "print('up', flush=True); sys.stdin.readline()\n"
        "pid = os.fork()\n"
        "if not pid: burn(0.6); os._exit(0)\n"
        "os.waitpid(pid, 0); print('reaped', flush=True); sys.stdin.readline()\n"
    )
    knowing, unknowing = Sensors(), Sensors()
    with python(program) as template:
        assert template.stdin is not None and template.stdout is not None
        assert template.stdout.readline() == "up\n"
        knowing.read({}, [template.pid])
        unknowing.read({})
        template.stdin.write("\n")
        template.stdin.flush()
        assert template.stdout.readline() == "reaped\n"
        ours = knowing.read({}, [template.pid]).others_cpus
        others = unknowing.read({}).others_cpus

    assert ours is not None and others is not None
    assert others - ours > 0.2


def test_the_smallest_limit_of_all_enclosing_groups_counts() -> None:
    name = f"imgoptd-test-{os.getpid()}"
    program = (
        "import json, sys; open(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
        "from imgoptd.adapters.sensors import Sensors\n"
        "sensors = Sensors(); sensed = sensors.read({})\n"
        "print(json.dumps([sensed.limit_bytes, sensed.available_bytes, sensors.limits().memory_bytes]))"
    )
    with memory_groups({name: 128 * MIB, "inner": 512 * MIB}) as innermost:
        command = [sys.executable, "-c", program, str(innermost)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    limit, available, total = json.loads(shown)

    assert limit == total == 128 * MIB
    assert 0 < available < 128 * MIB


def test_a_file_that_may_not_be_read_is_unknown_to_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    secret = tmp_path / "memory.max"
    secret.write_text("1\n")
    secret.chmod(0)
    files = KernelFiles()
    assert files.read(str(secret)) == "1\n"
    files.close()
    os.seteuid(65534)
    try:
        unseen = files.read(str(secret))
    finally:
        os.seteuid(0)

    assert unseen == ""


def test_a_file_of_a_group_that_was_made_anew_is_read_anew() -> None:
    name = f"imgoptd-test-{os.getpid()}"
    files = KernelFiles()
    for limit in (128 * MIB, 64 * MIB):
        with memory_groups({name: limit}) as group:
            file = next(path for path in (group / "memory.limit_in_bytes", group / "memory.max") if path.exists())
            assert files.read(str(file)).strip() == str(limit)
    assert files.read(str(file)) == ""
    files.close()


def test_another_process_with_the_number_of_one_that_ended_is_not_taken_for_it() -> None:
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        pytest.skip("process numbers cannot be chosen here")
    stats = ProcessStats()
    first = subprocess.Popen(["sleep", "60"])
    assert stats.read(first.pid) is not None
    first.kill()
    first.wait()
    for _ in range(50):
        last.write_text(str(first.pid - 1))
        with subprocess.Popen(["sleep", "60"]) as second:
            try:
                if second.pid == first.pid:
                    assert stats.read(second.pid) is None
                    break
            finally:
                second.kill()
    else:
        pytest.skip("the number was not to be had again")
    stats.close()


def test_a_worker_is_read_with_its_cpu_time_and_a_reading_of_many_keeps_no_descriptor() -> None:
    sensors = Sensors()
    with python(BURN + "burn(60)") as worker:
        used_cpu(worker.pid, 0.3)
        (reading,) = sensors.read({7: worker.pid}).workers
        held = len(os.listdir("/proc/self/fd"))
    sensors.read({})

    assert reading.worker == 7
    assert reading.cpu_s is not None and reading.cpu_s >= 0.3
    assert len(os.listdir("/proc/self/fd")) < held
    sensors.close()


def test_the_cpus_of_a_cpuset_are_followed_down_and_up_again() -> None:
    base = Path("/sys/fs/cgroup/cpuset")
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2 or not os.access(base / "cpuset.cpus", os.W_OK):
        pytest.skip("needs two CPUs and the cpuset controller of version 1")
    group = base / f"imgoptd-test-{os.getpid()}"
    program = (
        "import sys; from imgoptd.adapters.sensors import Sensors; sensors = Sensors()\n"
        "open(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
        "while True: print(sensors.read({}).cpus, flush=True); sys.stdin.readline() or sys.exit()"
    )
    group.mkdir()
    try:
        for name in ("cpuset.mems", "cpuset.cpus"):
            (group / name).write_text((base / name).read_text())
        command = [sys.executable, "-c", program, str(group)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stdout is not None
            seen = [int(process.stdout.readline())]
            for cpus in (str(allowed[0]), (base / "cpuset.cpus").read_text()):
                (group / "cpuset.cpus").write_text(cpus)
                process.stdin.write("\n")
                process.stdin.flush()
                seen.append(int(process.stdout.readline()))
    finally:
        remove(group)

    assert seen == [len(allowed), 1, len(allowed)]


def test_an_oom_kill_in_our_group_is_counted_and_one_in_another_group_is_not() -> None:
    program = (
        "import subprocess, sys\n"
        "def enter(group): return lambda: open(group + '/cgroup.procs', 'w').write('0')\n"
        "enter(sys.argv[1])()\n"
        "from imgoptd.adapters.sensors import Sensors; sensors = Sensors(); counts = [sensors.oom_kills()]\n"
        "for group in sys.argv[2], sys.argv[1]:\n"
        "    greedy = [sys.executable, '-c', \"open('/proc/self/oom_score_adj', 'w').write('1000');"
        " bytearray(b'x') * (300 << 20)\"]\n"
        "    assert subprocess.run(greedy, preexec_fn=enter(group)).returncode == -9\n"
        "    counts.append(sensors.oom_kills())\n"
        "print(*counts)"
    )
    name = f"imgoptd-test-{os.getpid()}"
    with memory_groups({f"{name}-ours": 100 * MIB}) as ours, memory_groups({f"{name}-other": 60 * MIB}) as other:
        command = [sys.executable, "-c", program, str(ours), str(other)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    assert shown.split() == ["0", "0", "1"]
