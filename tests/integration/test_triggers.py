"""What tells by itself that memory runs short: systemd's protocol, pressure files, and real groups of version 1."""

from __future__ import annotations

import base64
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imgoptd.adapters import triggers
from imgoptd.adapters.cgroup import Groups
from tests.memory_groups import V1, memory_groups, remove

MIB = 1 << 20
NO_GROUPS = Groups("", "")

GREEDY = "import sys; open(sys.argv[1] + '/cgroup.procs', 'w').write('0'); block = bytearray(b'x') * (120 << 20)"
"""Puts itself into the group given and takes 120 MiB."""


@contextmanager
def armed(trigger: triggers.Trigger) -> Iterator[triggers.Trigger]:
    try:
        yield trigger
    finally:
        trigger.close()


def tells(trigger: triggers.Trigger, within_s: float = 10.0) -> bool:
    return bool(select.select([trigger.fd], [], [], within_s)[0])


def asked(path: Path | str, write: bytes = b"") -> dict[str, str]:
    return {triggers.WATCH: str(path), triggers.WRITE: base64.b64encode(write).decode()}


def test_a_fifo_of_the_service_manager_is_listened_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (trigger,), refused = triggers.arm(NO_GROUPS, asked(fifo))
    with armed(trigger):
        assert refused == []
        assert not tells(trigger, 0.0)
        with fifo.open("wb") as writer:
            writer.write(b"x" * 5000)
        assert tells(trigger)
        assert trigger.take(), "the end of a writer is not the end of the trigger"
        assert not tells(trigger, 0.0), "what was told is not told again"


def test_a_socket_of_the_service_manager_gets_its_first_line_and_its_end_ends_the_trigger(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        (trigger,), _ = triggers.arm(NO_GROUPS, asked(tmp_path / "socket", b"some 1 2\0"))
        with armed(trigger):
            manager, _ = listener.accept()
            with manager:
                assert manager.recv(100) == b"some 1 2\0"
                manager.send(b"!")
                assert tells(trigger) and trigger.take()
            assert tells(trigger) and not trigger.take()


def test_the_null_device_switches_all_triggers_off() -> None:
    none, (why,) = triggers.arm(Groups("", ""), asked("/dev/null"))

    assert none == []
    assert "switched off" in why


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({triggers.WATCH: "/nowhere/pressure"}, "No such file"),
        ({triggers.WATCH: "/proc/pressure/memory", triggers.WRITE: "*"}, "base64"),
        ({triggers.WATCH: "/proc/pressure/memory", triggers.WRITE: "c29tZSBub25zZW5zZQA="}, "Invalid argument"),
        ({triggers.WATCH: "/proc"}, "neither"),
    ],
)
def test_what_the_service_manager_names_and_cannot_be_had_is_told_and_replaced(
    tmp_path: Path, environ: dict[str, str], word: str
) -> None:
    if not Path("/proc/pressure/memory").exists():
        pytest.skip("this kernel has no pressure files")
    found, refused = triggers.arm(NO_GROUPS, environ, proc=str(tmp_path))

    assert found == []
    assert word in refused[0]
    assert refused[1] == f"{tmp_path}/pressure/memory: No such file or directory", "the machine's own was tried next"


def test_a_plain_file_in_place_of_a_pressure_file_is_refused_and_no_descriptor_of_it_stays(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(triggers.Refused, match="plain"):
        triggers.of_manager(str(tmp_path / "plain"), "")
    assert os.listdir("/proc/self/fd") == before


def test_without_a_free_descriptor_nothing_is_armed_and_nothing_raised() -> None:
    program = (
        "import resource, sys; from imgoptd.adapters import triggers; from imgoptd.adapters.cgroup import Groups\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\n"
        "groups = Groups('1 2 0:3 / /g rw - cgroup cgroup rw,memory', '4:memory:/')\n"
        "found, refused = triggers.arm(groups, {}); print(len(found), len(refused))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert shown.stdout.split() == ["0", "3"]


@contextmanager
def pressed_v1() -> Iterator[Path]:
    if not (V1 / "memory.limit_in_bytes").exists():
        pytest.skip("no memory controller of version 1 here")
    with memory_groups({f"imgoptd-test-{os.getpid()}": 48 * MIB}) as group:
        if not os.access(group / "cgroup.event_control", os.W_OK):
            pytest.skip("events of groups cannot be asked for here")
        yield group


def test_a_group_of_version_1_tells_of_pressure_and_of_an_oom_kill() -> None:
    with pressed_v1() as group:
        groups = Groups(f"1 2 0:3 / {group} rw - cgroup cgroup rw,memory\n", "4:memory:/\n")
        found, refused = triggers.arm(groups, {triggers.WATCH: "/nowhere"}, proc="/nowhere")
        try:
            assert [trigger.name for trigger in found] == [
                f"{group}/memory.pressure_level medium",
                f"{group}/memory.oom_control",
            ]
            assert len(refused) == 2
            assert not any(tells(trigger, 0.0) for trigger in found)
            greedy = subprocess.run([sys.executable, "-c", GREEDY, str(group)], capture_output=True, timeout=60)
            assert greedy.returncode == -9
            assert all(tells(trigger) and trigger.take() for trigger in found)
        finally:
            for trigger in found:
                trigger.close()


def test_a_pressure_file_of_a_group_that_is_removed_ends_its_trigger() -> None:
    roots = [
        path for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")) if (path / "cgroup.stat").exists()
    ]
    if not roots or not os.access(roots[0], os.W_OK):
        pytest.skip("no group of version 2 can be made here")
    group = roots[0] / f"imgoptd-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group of version 2 can be made here: {error}")
    try:
        if not (group / "memory.pressure").exists():
            pytest.skip("this kernel has no pressure files")
        groups = Groups(f"1 2 0:3 / {roots[0]} rw - cgroup2 cgroup2 rw\n", f"0::/{group.name}\n")
        found, _ = triggers.arm(groups, {}, proc="/nowhere")
    finally:
        remove(group)
    (trigger,) = found
    with armed(trigger):
        assert tells(trigger)
        assert not trigger.take()
