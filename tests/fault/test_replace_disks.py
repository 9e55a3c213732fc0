"""Disks that are full, turn read-only or immutable: the file stays, and what is wrong is told."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace as with_fields
from pathlib import Path

import pytest

from imgoptd.adapters import failpoints
from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.replace import UNFINISHED, Refused, ReplaceError, exchange, open_job, prepare_keeping, recover
from imgoptd.core.model import FailureKind
from tests.fault.small_disk import fill
from tests.fault.small_disk import small_disk as disk_of_2_mib
from tests.replacing import (
    NEWER,
    OLD,
    crashed,
    finish,
    identity,
    intend,
    recovered,
    seen,
    start,
    temps,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB and six inodes, with one file."""
    made = tmp_path / "small"
    made.mkdir()
    options = "size=64k,nr_inodes=6"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", made], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        (made / "a.jpg").write_bytes(OLD)
        yield made
    finally:
        subprocess.run(["umount", "--lazy", made], check=True)


@needs_root
def test_originals_copied_to_the_state_folder_leave_its_disk_the_room_that_the_store_needs(tmp_path: Path) -> None:
    (tmp_path / ".imgoptd").touch()  # no place of ours there: a copy it must be
    (tmp_path / "a.jpg").write_bytes(OLD)
    with disk_of_2_mib(tmp_path / "state") as state, Folder(os.fsencode(tmp_path)) as folder:
        (state / "undo").mkdir(mode=0o700)
        fill(state / "filler")
        os.truncate(state / "filler", (state / "filler").stat().st_size - 16384)
        with start(folder, b"a.jpg", state) as job, pytest.raises(ReplaceError) as refused:
            prepare_keeping(job, folder, b"a.jpg", os.fsencode(state))
        assert refused.value.failure.reason == "no-undo"
        assert "make room there" in refused.value.failure.detail
        assert not list((state / "undo").iterdir())


@needs_root
def test_a_state_folder_that_fills_under_a_copy_is_not_taken_for_the_disk_of_the_file(tmp_path: Path) -> None:
    (tmp_path / ".imgoptd").touch()
    (tmp_path / "a.jpg").write_bytes(OLD)
    with disk_of_2_mib(tmp_path / "state") as state, Folder(os.fsencode(tmp_path)) as folder:
        with start(folder, b"a.jpg", tmp_path) as job:
            job.sha256 = sha256_of(job.input_fd)
            at = prepare_keeping(job, folder, b"a.jpg", os.fsencode(state))
            intent = with_fields(intend(folder, b"a.jpg", job), keep=at)
            fill(state / "filler")
            with pytest.raises(ReplaceError) as refused:
                exchange(job, intent)
        assert refused.value.failure.reason == "no-undo"
        assert (tmp_path / "a.jpg").read_bytes() == OLD
        assert not temps(tmp_path) and not list((state / "undo").iterdir())


def test_a_disk_without_a_free_inode_is_told_and_the_file_stays(small_disk: Path) -> None:
    with Folder(os.fsencode(small_disk)) as folder:
        wanted = identity(folder, b"a.jpg")
        taken = 0
        while True:
            try:
                (small_disk / f"fill{taken}").touch()
                taken += 1
            except OSError:
                break
        assert taken
        with pytest.raises(Refused) as caught:
            open_job(folder, b"a.jpg", wanted, b"/tmp")
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.TRANSIENT, "no-space")
    assert seen(small_disk / "a.jpg").content == OLD


def test_a_full_disk_is_told_when_the_result_must_be_copied_there(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "a.jpg").write_bytes(b"x" * 30_000)
    with Folder(os.fsencode(small_disk)) as folder, start(folder, b"a.jpg", tmp_path) as job:
        spooled = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(spooled, b"y" * 20_000)
        job.adopt_output(spooled)
        job.linkable = False  # as open_job has it where the folder cannot hold a nameless file
        intent = intend(folder, b"a.jpg", job, b"y" * 20_000)
        assert intent.result is None
        with (small_disk / "fill").open("wb", buffering=0) as file:
            try:
                while file.write(b"z" * 4096):
                    pass
            except OSError:
                pass  # full, as wanted
        with pytest.raises(ReplaceError) as caught:
            finish(job, intent)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.TRANSIENT, "no-space")
    assert temps(small_disk) == []
    assert seen(small_disk / "a.jpg").content == b"x" * 30_000


def test_a_close_that_tells_of_a_full_disk_leaves_neither_temp_nor_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS and FUSE report at close(2) what they could not store; the descriptor is gone all the same."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.jpg").write_bytes(OLD)
    close = os.close

    def close_on_a_full_disk(fd: int) -> None:
        named = os.readlink(f"/proc/self/fd/{fd}").startswith(f"{root}/.imgoptd-")
        full = named and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        close(fd)
        if full:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    before = set(os.listdir("/proc/self/fd"))
    with Folder(os.fsencode(root)) as folder, start(folder, b"a.jpg", tmp_path) as job:
        job.linkable = False  # as open_job has it where the folder cannot hold a nameless file
        intent = intend(folder, b"a.jpg", job)
        monkeypatch.setattr(os, "close", close_on_a_full_disk)
        with pytest.raises(ReplaceError) as caught:
            finish(job, intent)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.TRANSIENT, "no-space")
    assert set(os.listdir("/proc/self/fd")) == before
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


def test_a_job_lets_go_of_all_it_holds_though_the_disk_reports_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    close = os.close

    def close_on_a_sick_disk(fd: int) -> None:
        close(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Folder(os.fsencode(tmp_path)) as folder:
        before = set(os.listdir("/proc/self/fd"))
        job = start(folder, b"a.jpg", tmp_path)
        monkeypatch.setattr(os, "close", close_on_a_sick_disk)
        job.close()
        job.close()
        monkeypatch.undo()
        assert set(os.listdir("/proc/self/fd")) == before


def test_a_filesystem_that_turned_read_only_is_told_and_the_file_stays(small_disk: Path) -> None:
    with Folder(os.fsencode(small_disk)) as folder:
        wanted = identity(folder, b"a.jpg")
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        with pytest.raises(Refused) as caught:
            open_job(folder, b"a.jpg", wanted, b"/tmp")
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.TRANSIENT, "read-only-filesystem")
    assert (small_disk / "a.jpg").read_bytes() == OLD


def can_be_immutable(folder: Path) -> bool:
    if subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        return False
    subprocess.run(["chattr", "-i", folder], check=True)
    return True


@needs_root
def test_names_that_cannot_be_put_right_now_are_put_right_by_recovery(tmp_path: Path) -> None:
    """The folder becomes immutable in the middle of an exchange, as a filesystem turns read-only after an error."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.jpg").write_bytes(OLD)
    if not can_be_immutable(root):
        pytest.skip("this filesystem knows no chattr flags")
    intent, temp = crashed(root, "after_exchange")
    (root / "draft").write_bytes(NEWER)
    (root / "draft").rename(temp)
    subprocess.run(["chattr", "+i", root], check=True)
    try:
        with Folder(os.fsencode(root)) as folder:
            done = recover(folder, intent)
        assert not done.settled
        assert temp.read_bytes() == NEWER
    finally:
        subprocess.run(["chattr", "-i", root], check=True)
    assert not recovered(root, intent).finished
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_a_result_that_changed_after_it_was_verified_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    with Folder(os.fsencode(tmp_path)) as folder, start(folder, b"a.jpg", tmp_path) as job:
        job.linkable = False  # as open_job has it where the folder cannot hold a nameless file
        intent = intend(folder, b"a.jpg", job)
        writing = os.open(b"/proc/self/fd/%d" % job.output_fd, os.O_WRONLY)
        os.write(writing, b"EVIL")
        os.close(writing)
        with pytest.raises(ReplaceError) as caught:
            finish(job, intent)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.UNVERIFIED, "result-changed")
    assert seen(tmp_path / "a.jpg").content == OLD
    assert temps(tmp_path) == []


@needs_root
@pytest.mark.parametrize("linkable", [True, False])
def test_a_folder_that_became_immutable_before_the_exchange_is_told(tmp_path: Path, linkable: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.jpg").write_bytes(OLD)
    if not can_be_immutable(root):
        pytest.skip("this filesystem knows no chattr flags")
    with Folder(os.fsencode(root)) as folder, start(folder, b"a.jpg", tmp_path) as job:
        job.linkable = linkable
        intent = intend(folder, b"a.jpg", job)
        subprocess.run(["chattr", "+i", root], check=True)
        try:
            with pytest.raises(ReplaceError) as caught:
                finish(job, intent)
        finally:
            subprocess.run(["chattr", "-i", root], check=True)
    assert caught.value.failure.reason == ("not-permitted" if linkable else "folder-not-writable")
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


@needs_root
def test_a_folder_that_became_immutable_with_the_temp_in_it_leaves_that_to_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.jpg").write_bytes(OLD)
    if not can_be_immutable(root):
        pytest.skip("this filesystem knows no chattr flags")

    def act(point: str) -> None:
        if point == "replace.after_link":
            subprocess.run(["chattr", "+i", root], check=True)

    with Folder(os.fsencode(root)) as folder, start(folder, b"a.jpg", tmp_path) as job:
        intent = intend(folder, b"a.jpg", job)
        monkeypatch.setattr(failpoints, "hit", act)
        try:
            with pytest.raises(ReplaceError) as caught:
                exchange(job, intent)
        finally:
            subprocess.run(["chattr", "-i", root], check=True)
    assert caught.value.failure.reason == UNFINISHED
    recovered(root, intent)
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


def test_a_name_that_somebody_took_from_the_temp_is_left_to_recovery_which_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    with Folder(os.fsencode(tmp_path)) as folder, start(folder, b"a.jpg", tmp_path) as job:
        intent = intend(folder, b"a.jpg", job)
        (tmp_path / os.fsdecode(intent.temp_name)).write_bytes(NEWER)
        with pytest.raises(ReplaceError) as caught:
            exchange(job, intent)
    assert caught.value.failure.reason == UNFINISHED
    recovered(tmp_path, intent)
    assert seen(tmp_path / "a.jpg").content == OLD
    assert [(tmp_path / name).read_bytes() for name in temps(tmp_path)] == [NEWER]


@needs_root
def test_an_exchange_that_cannot_be_undone_says_so_and_keeps_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.jpg").write_bytes(OLD)
    if not can_be_immutable(root):
        pytest.skip("this filesystem knows no chattr flags")

    def act(point: str) -> None:
        if point == "replace.after_link":
            (root / "draft").write_bytes(NEWER)
            (root / "draft").rename(root / "a.jpg")
        elif point == "replace.after_exchange":
            subprocess.run(["chattr", "+i", root], check=True)

    with Folder(os.fsencode(root)) as folder, start(folder, b"a.jpg", tmp_path) as job:
        intent = intend(folder, b"a.jpg", job)
        monkeypatch.setattr(failpoints, "hit", act)
        try:
            with pytest.raises(ReplaceError) as caught:
                exchange(job, intent)
        finally:
            subprocess.run(["chattr", "-i", root], check=True)
    assert caught.value.failure.reason == UNFINISHED
    assert not recovered(root, intent).finished
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []
