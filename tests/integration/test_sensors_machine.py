"""Sensors on the machine that runs the tests, in a real memory group, and on a made-up procfs and cgroup tree."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from imgoptd.adapters.kernel_files import read
from imgoptd.adapters.sensors import Sensors

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


@contextmanager
def memory_groups(limits: dict[str, int]) -> Iterator[Path]:
    """Nested memory groups, outermost first, made where the memory controller is. Yields the innermost."""
    if os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        base, file = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
    elif "memory" in read("/sys/fs/cgroup/cgroup.subtree_control").split():
        base, file = Path("/sys/fs/cgroup"), "memory.max"
    else:
        pytest.skip("no memory controller to make a group in")
    made: list[Path] = []
    try:
        try:
            for name, limit in limits.items():
                base = base / name
                base.mkdir()
                made.append(base)
                (base / file).write_text(str(limit))
                control = base / "cgroup.subtree_control"
                if control.exists() and name != list(limits)[-1]:
                    control.write_text("+memory")
        except OSError as error:
            pytest.skip(f"memory groups cannot be made here: {error}")
        yield base
    finally:
        for folder in reversed(made):
            folder.rmdir()


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
            "cgroup/app/imgoptd/memory.stat": f"anon 1\ninactive_file {40 * MIB}\n",
            "cgroup/app/memory.max": f"{300 * MIB}\n",
            "cgroup/app/memory.current": f"{160 * MIB}\n",
        }
    ).read({})

    assert sensed.limit_bytes == 200 * MIB
    assert sensed.available_bytes == 90 * MIB


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
    sensors = tree({"pressure/memory": "some avg10=0.00 avg60=0 avg300=0 total=1000000\n"})
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
