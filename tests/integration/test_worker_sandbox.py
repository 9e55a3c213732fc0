"""What a process can still do after it has entered the sandbox, tried from within."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgoptd.worker import sandbox
from tests.another_user import NOBODY

FROM_WITHIN = """
import json, os, resource, signal, socket, sys
from imgoptd.worker import sandbox

own, uid, parent = sys.argv[1], json.loads(sys.argv[2]), os.getppid()
held = os.open(own, os.O_RDWR)
status = os.open("/proc/self/status", os.O_RDONLY)
network = socket.socket()  # create_connection would load modules, and be denied for that

def capabilities(descriptor):
    lines = os.pread(descriptor, 8192, 0).decode().splitlines()
    return [int(line.split()[1], 16) for line in lines if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))]

names = sandbox.enter(uid, parent)

def attempt(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

print(json.dumps({
    "names": names,
    "read a file": attempt(lambda: open("/etc/passwd")),
    "list a folder": attempt(lambda: os.listdir("/")),
    "make a file": attempt(lambda: open("/tmp/imgoptd-sandbox-test", "x")),
    "open its own file again": attempt(lambda: open(own)),
    "run a program": attempt(lambda: os.execv("/bin/true", ["true"])),
    "connect": attempt(lambda: network.connect(("127.0.0.1", 9))),
    "signal its parent": attempt(lambda: os.kill(parent, 0)),
    "read what it holds": attempt(lambda: os.pread(held, 10, 0)),
    "write what it holds": attempt(lambda: os.pwrite(held, b"x", 0)),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "open files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "uids": os.getresuid(),
    "gids": os.getresgid(),
    "groups": os.getgroups(),
    "capabilities": capabilities(status),
}))
"""


def from_within(own: Path, uid: int | None) -> dict[str, object]:
    own.write_bytes(b"held open")
    command = [sys.executable, "-c", FROM_WITHIN, str(own), json.dumps(uid)]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr.decode()
    found = json.loads(ran.stdout)
    assert isinstance(found, dict)
    return found


def landlock_abi_is_at_least(abi: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(sandbox.landlock_abi() < abi, reason=f"the kernel has no Landlock ABI {abi}")


@landlock_abi_is_at_least(1)
def test_no_file_can_be_opened_but_those_held_are_still_good(tmp_path: Path) -> None:
    found = from_within(tmp_path / "own", None)
    denied = ("read a file", "list a folder", "make a file", "open its own file again", "run a program")
    assert all(found[what] == 13 for what in denied), found
    assert found["read what it holds"] == found["write what it holds"] == 0
    names = found["names"]
    assert isinstance(names, list) and "no-files" in names


@landlock_abi_is_at_least(6)
def test_neither_network_nor_other_processes_can_be_reached(tmp_path: Path) -> None:
    found = from_within(tmp_path / "own", None)
    assert found["connect"] == 13
    assert found["signal its parent"] == 1
    names = found["names"]
    assert isinstance(names, list) and {"no-tcp", "no-signals", "no-abstract-sockets"} <= set(names)


def test_there_is_no_core_dump_and_a_small_limit_on_open_files(tmp_path: Path) -> None:
    found = from_within(tmp_path / "own", None)
    assert found["core"] == [0, 0]
    assert found["open files"] == [sandbox.OPEN_FILES] * 2


def test_no_capability_is_left_even_to_a_root_that_stays_root(tmp_path: Path) -> None:
    found = from_within(tmp_path / "own", None)
    assert found["capabilities"] == [0, 0, 0, 0]
    names = found["names"]
    assert isinstance(names, list) and "no-capabilities" in names


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_root_becomes_the_user_it_is_told_for_good(tmp_path: Path) -> None:
    found = from_within(tmp_path / "own", NOBODY)
    assert found["uids"] == found["gids"] == [NOBODY] * 3
    assert found["groups"] == []
    names = found["names"]
    assert isinstance(names, list) and "own-user" in names


def test_a_kernel_without_landlock_leaves_its_protections_unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "landlock_abi", lambda: 0)
    assert sandbox.deny_files_and_network() == ()


def test_a_process_whose_parent_has_ended_does_not_begin() -> None:
    script = "import os; from imgoptd.worker import sandbox; sandbox.die_with(os.getppid() + 1)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert ran.returncode == 1
    assert b"ProcessLookupError" in ran.stderr
