"""`imgoptd --check`: what it finds in this machine, its kernel and its codecs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imgoptd.adapters import inspect_folder
from imgoptd.adapters.inspection import inspect
from imgoptd.wire.findings import Level
from tests.integration.checking import CHECK, about, check, config_of, needs_root, write_config


def test_folders_are_counted_against_the_limit_of_watches(home: Path) -> None:
    for number in range(10):
        (home / "drop" / str(number)).mkdir()
    assert about(inspect(config_of(home)), "inotify", Level.OK).startswith("11 of the ")
    write_config(home, "recursive = false")
    assert about(inspect(config_of(home)), "inotify", Level.OK).startswith("1 of the ")
    write_config(home, 'backend = "poll"')
    assert not any(finding.subject == "inotify" for finding in inspect(config_of(home)))


def test_a_tree_too_large_to_count_is_said_to_need_at_least_so_many(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (home / "drop" / str(number)).mkdir()
    monkeypatch.setattr(inspect_folder, "SURVEY_FOLDERS", 4)
    assert about(inspect(config_of(home)), "inotify", Level.OK).startswith("4 or more of the ")


@pytest.mark.parametrize(
    ("backend", "setting", "value", "status", "said"),
    [
        ("auto", "max_inotify_watches", 5, 1, "folders that find none left will be polled"),
        ("native", "max_inotify_watches", 5, 1, "folders that find none left will be polled"),
        ("auto", "max_inotify_watches", 12, 1, "all programs of this user share them"),
        ("auto", "max_inotify_instances", 0, 1, "no inotify instance"),
        ("native", "max_inotify_instances", 0, 1, "no inotify instance"),
    ],
)
def test_too_low_limits_of_inotify_are_found_with_the_sysctl_line(
    home: Path, backend: str, setting: str, value: int, status: int, said: str
) -> None:
    for number in range(10):
        (home / "drop" / str(number)).mkdir()
    write_config(home, f'backend = "{backend}"')
    set_limit = f'echo {value} >/proc/sys/user/{setting} || exit 77; exec "$@"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", set_limit, "sh", sys.executable, "-c", CHECK, home / "imgoptd.toml"],
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no user namespace of our own here: {done.stderr.strip()}")
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
    assert f"put user.{setting} = " in done.stdout


def test_what_would_tell_that_memory_runs_short_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(home / "manager")
    monkeypatch.setenv("MEMORY_PRESSURE_WATCH", str(home / "manager"))
    write_config(home)
    (found,) = (line for line in check(home).stdout.splitlines() if " alerts: " in line)
    assert f"MEMORY_PRESSURE_WATCH {home}/manager" in found


@needs_root
def test_a_machine_without_pressure_and_journald_is_told_so(home: Path) -> None:
    write_config(home, daemon='log = "journal"')
    inside = "mount -t tmpfs none /proc/pressure; mkdir -p /run/systemd; mount -t tmpfs none /run/systemd"
    done = check(home, inside=inside)
    assert done.returncode == 1
    assert "boot with psi=1" in done.stdout
    assert "not /proc/pressure/memory: No such file or directory" in done.stdout
    assert 'start systemd-journald, or set log = "auto"' in done.stdout


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("inject=renameat2:error=EINVAL", 1, "the filesystem has no atomic exchange"),
        ("inject=renameat2:error=EIO", 1, "a file cannot be made in it: Input/output error"),
        ("inject=openat2:error=ENOSYS", 2, "this kernel has no openat2"),
        ("inject=landlock_create_ruleset:error=ENOSYS", 1, "the kernel has no Landlock"),
    ],
)
def test_what_the_kernel_does_not_offer_is_found(home: Path, fault: str, status: int, said: str) -> None:
    done = check(home, strace=fault)
    if "strace:" in done.stderr:
        pytest.skip(f"strace cannot do this here: {done.stderr.strip()}")
    assert said in done.stdout, done.stdout
    assert done.returncode == status
    assert os.listdir(home / "drop") == []


def test_a_codec_that_cannot_be_loaded_is_an_error_with_its_own_words(home: Path) -> None:
    (home / "oxipng.py").write_text("raise ImportError('libfoo.so.1: cannot open shared object file')")
    done = check(home, env={"PYTHONPATH": os.fspath(home)})
    assert done.returncode == 2
    assert "codecs: cannot be loaded: pyoxipng: ImportError: libfoo.so.1: cannot open" in done.stdout


def test_a_codec_that_ends_its_process_is_an_error(home: Path) -> None:
    (home / "oxipng.py").write_text("import os; os.abort()")
    done = check(home, env={"PYTHONPATH": os.fspath(home)})
    assert done.returncode == 2
    assert "codecs: cannot be loaded: exit status -6" in done.stdout
