"""`imgoptd --check`: what it finds in real folders, and which status it ends with."""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from imgoptd.adapters import filesystems
from imgoptd.adapters.inspection import inspect
from imgoptd.config.schema import Config
from imgoptd.wire.findings import Level, exit_status
from tests.another_user import NOBODY
from tests.filesystem import take_for
from tests.integration.checking import about, check, checked_by_nobody, config_of, needs_root, write_config


def test_a_sound_folder_is_fine_and_nothing_is_left_in_it(home: Path) -> None:
    findings = inspect(config_of(home))
    said = about(findings, "drop", Level.OK)
    assert "exchanged atomically" in said
    assert "read lease" in said
    assert "without a name" in said
    assert not about(findings, "", Level.ERROR)
    assert "Pillow 13" in about(findings, "codecs", Level.OK)
    assert sorted(os.listdir(home)) == ["drop", "imgoptd.toml"]
    assert os.listdir(home / "drop") == []


def test_every_warning_and_error_comes_with_a_mend_and_errors_come_last(home: Path) -> None:
    (home / "drop").rmdir()
    (home / "state").write_bytes(b"x")
    done = check(home)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[-1] == "would not start"
    assert lines[-3].startswith(f"error    state_dir {home}/state: ")
    troubles = [number for number, line in enumerate(lines) if line.startswith(("warning", "error"))]
    assert len(troubles) >= 2
    assert all(lines[number + 1].startswith("         -> ") for number in troubles)


def test_a_missing_folder_is_a_warning_since_the_daemon_starts_without_it(home: Path) -> None:
    (home / "drop").rmdir()
    done = check(home)
    assert done.returncode == 1, done.stdout
    lines = done.stdout.splitlines()
    said = "No such file or directory; the daemon starts without it and keeps looking for it"
    at = lines.index(f"warning  watch {home}/drop: {said}")
    assert lines[at + 1] == "         -> create it or mount it, or remove it from [[watch]]"
    assert lines[-1] == "would run, with warnings"


def test_a_wrong_configuration_is_one_line_and_would_not_start(home: Path) -> None:
    write_config(home, "recursiv = true")
    done = check(home)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "recursive" in done.stderr


def test_a_watched_file_is_a_warning(home: Path) -> None:
    (home / "drop").rmdir()
    (home / "drop").write_bytes(b"x")
    assert "is not a folder" in about(inspect(config_of(home)), "drop", Level.WARNING)


def test_a_filesystem_of_the_kernels_own_is_a_warning_with_a_mend(home: Path) -> None:
    (home / "drop").rmdir()
    (home / "drop").symlink_to("/proc")
    done = check(home)
    assert done.returncode == 1, done.stderr
    assert "lies on proc, where the kernel shows its own state" in done.stdout
    assert "-> name a folder on a disk, or remove it from [[watch]]" in done.stdout


@pytest.mark.parametrize("target", ["drop", "drop/deep", "."])
def test_two_watched_folders_that_meet_by_a_symlink_are_a_warning(home: Path, target: str) -> None:
    (home / "drop" / "deep").mkdir()
    (home / "link").symlink_to(target)
    config = config_of(home)
    config = replace(config, watches=(*config.watches, replace(config.watches[0], path=os.fsencode(home / "link"))))
    findings = inspect(config)
    assert "once symlinks are followed" in about(findings, "link", Level.WARNING)
    assert exit_status(findings) == 1


def test_a_control_socket_is_told_apart_by_who_answers(home: Path) -> None:
    (home / "run").mkdir()
    path = home / "run" / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(os.fspath(path))
        server.listen()
        assert "a running daemon answers" in about(inspect(config_of(home)), "control", Level.OK)
    assert "was left by a daemon that ended" in about(inspect(config_of(home)), "control", Level.OK)
    path.unlink()
    path.write_bytes(b"a file")
    assert "no socket stands there" in about(inspect(config_of(home)), "control", Level.ERROR)


def test_state_and_control_below_a_file_are_errors(home: Path) -> None:
    (home / "state").write_bytes(b"x")
    (home / "run").write_bytes(b"x")
    findings = inspect(config_of(home))
    assert "state is not a folder" in about(findings, "state_dir", Level.ERROR)
    assert "run is not a folder" in about(findings, "control", Level.ERROR)


def test_a_filesystem_without_nameless_files_is_said_and_no_trouble(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # without the one bit that says "nameless", the kernel answers as one that does not know O_TMPFILE: EISDIR
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    findings = inspect(config_of(home))
    assert "no nameless files here" in about(findings, "drop", Level.OK)
    assert not about(findings, "drop", Level.ERROR)


def test_where_leases_tell_nothing_closes_must_do_or_else_quiet_time_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "F_SETLEASE", 9999)  # the kernel answers EINVAL, as it does where there are no leases
    findings = inspect(config_of(home))
    assert "a closed file is known by its close" in about(findings, "drop", Level.OK)
    take_for(monkeypatch, home, filesystems.Filesystem("a new one"))
    findings = inspect(config_of(home))
    assert "let settle be longer than the longest pause" in about(findings, "drop", Level.WARNING)
    assert exit_status(findings) == 1


@pytest.mark.parametrize(("backend", "level"), [("auto", Level.OK), ("native", Level.WARNING)])
def test_a_network_filesystem_is_named_and_native_watching_of_it_warned_of(
    home: Path, monkeypatch: pytest.MonkeyPatch, backend: str, level: Level
) -> None:
    take_for(monkeypatch, home, filesystems.Filesystem("nfs", remote=True))
    write_config(home, f'backend = "{backend}"')
    findings = inspect(config_of(home))
    assert "on nfs inotify" in about(findings, "drop", level)
    assert "move it to a local disk" in about(findings, "state_dir", Level.WARNING)


@needs_root
def test_another_users_folder_is_a_warning_that_names_the_right_to_give(home: Path) -> None:
    (home / "drop").chmod(0o755)
    said = checked_by_nobody(home)
    assert f"warning  watch {home}/drop: user {NOBODY} may not read, write and enter it" in said
    assert f"setfacl -R -m u:{NOBODY}:rwX" in said
    assert f"user {NOBODY} may not write in {home}" in said
    assert "would not start" in said


@needs_root
def test_files_whose_owner_cannot_be_kept_and_closed_folders_are_warnings(home: Path) -> None:
    (home / "drop" / "roots.jpg").write_bytes(b"x")
    (home / "drop" / "own.jpg").write_bytes(b"x")
    (home / "drop" / "closed").mkdir(mode=0o700)
    for path in (home, home / "drop", home / "drop" / "own.jpg"):
        os.chown(path, NOBODY, NOBODY)
    said = checked_by_nobody(home)
    assert f"warning  watch {home}/drop: 1 of 2 files looked at belong to others" in said
    assert f"warning  watch {home}/drop: 1 folders in it cannot be listed by user {NOBODY}" in said
    assert "error    watch" not in said


@needs_root
def test_folders_that_may_not_be_entered_are_findings_and_no_traceback(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    file = write_config(home)
    file.write_text(file.read_text().replace(f"{home}/", f"{closed}/"))
    said = checked_by_nobody(home)
    may_not = f"it cannot be reached by user {NOBODY}: Permission denied"
    assert f"error    state_dir {closed}/state: {may_not}" in said
    assert f"error    control {closed}/run/control.sock: its folder: {may_not}" in said
    assert f"warning  watch {closed}/drop: Permission denied; the daemon starts without it" in said
    assert "let this user enter the folders above it" in said
    assert said.endswith("would not start\n")


@needs_root
def test_a_read_only_filesystem_is_a_warning(home: Path) -> None:
    done = check(home, inside=f"mount -t tmpfs -o ro none {home}/drop")
    assert done.returncode == 1
    assert "lies on a filesystem mounted read-only" in done.stdout


@needs_root
def test_a_nearly_full_filesystem_and_a_full_one_are_warnings(home: Path) -> None:
    for name in ("drop", "state"):
        there = home / name
        there.mkdir(exist_ok=True)
        mounted = f"mount -t tmpfs -o size=1m none {there}"
        floor = "20.5 KiB"
        assert f"tmpfs, 1.00 MiB free, of which {floor} are never taken" in check(home, inside=mounted).stdout
        done = check(home, inside=f"{mounted}; head -c {1008 << 10} /dev/zero > {there}/filler")
        assert done.returncode == 1
        assert f"tmpfs, only 16.0 KiB are free, and {floor} (2 %, 256 MiB at most) must stay so" in done.stdout
    done = check(home, inside=f"mount -t tmpfs -o size=1m,nr_inodes=2 none {home}/drop; touch {home}/drop/x")
    assert done.returncode == 1
    assert "a file cannot be made in it: No space left on device" in done.stdout
    done = check(home, inside=f"mount -t tmpfs -o size=400m,nr_inodes=50 none {home}/drop")
    assert "inodes are free" in done.stdout


# ---- output trees ---------------------------------------------------------------------------------------------------


def mirrored(home: Path, output: str) -> Config:
    write_config(home, f'mode = "output"\noutput = "{home}/{output}"')
    return config_of(home)


def test_an_output_folder_is_tried_and_the_originals_are_not_written_to(home: Path) -> None:
    (home / "small").mkdir()
    before = (home / "drop").stat().st_mtime_ns
    said = about(inspect(mirrored(home, "small")), "small", Level.OK)
    assert "exchanged atomically" in said and "free" in said
    assert (home / "drop").stat().st_mtime_ns == before
    assert list((home / "small").iterdir()) == []


def test_a_missing_output_folder_is_made_where_it_can_be_and_is_a_warning_elsewhere(home: Path) -> None:
    assert "the daemon makes it" in about(inspect(mirrored(home, "small")), "small", Level.OK)
    warned = about(inspect(mirrored(home, "nowhere/small")), "small", Level.WARNING)
    assert "jobs wait for it -> make it or mount it" in warned
    (home / "small").write_bytes(b"")
    assert "is not a folder" in about(inspect(mirrored(home, "small")), "small", Level.WARNING)


@needs_root
def test_originals_that_may_only_be_read_are_fine_and_an_output_folder_is_not(home: Path) -> None:
    (home / "small").mkdir()
    mirrored(home, "small")
    said = checked_by_nobody(home)
    assert f"user {NOBODY} may not read, write and enter it" in said
    assert [line for line in said.splitlines() if "drop" in line and "may not" in line] == []


@needs_root
def test_originals_on_a_disk_mounted_read_only_are_fine(home: Path) -> None:
    (home / "small").mkdir()
    mirrored(home, "small")
    inside = f"mount -t tmpfs -o ro tmpfs {home}/drop"
    assert "mounted read-only" not in check(home, inside=inside).stdout
