"""A result takes a file's place: its content is new, everything else is as before."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from tests.replacing import (
    NEW,
    OLD,
    can_refuse,
    finish,
    identity,
    in_process,
    intend,
    seen,
    start,
    temps,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")


def replace_all(folder: Folder, root: Path, name: bytes = b"a.jpg") -> None:
    with start(folder, name, root) as job:
        done = finish(job, intend(folder, name, job))
        assert done.atomic
    assert identity(folder, name) == done.result


def test_the_content_is_new_and_all_else_is_as_before(root: Path, folder: Folder) -> None:
    path = root / "a.jpg"
    path.chmod(0o604)
    os.setxattr(path, "user.rating", b"5")
    os.setxattr(path, "user.empty", b"")
    os.utime(path, ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))
    before = seen(path)
    replace_all(folder, root)
    assert seen(path) == before._replace(content=NEW)
    assert temps(root) == []


@needs_root
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711, 0o0400, 0o1644, 0o7777])
def test_a_foreign_owner_and_every_mode_bit_are_kept(root: Path, folder: Folder, mode: int) -> None:
    path = root / "a.jpg"
    os.chown(path, 1234, 4321)
    path.chmod(mode)
    before = seen(path)
    replace_all(folder, root)
    assert seen(path) == before._replace(content=NEW)


@needs_root
def test_attributes_that_only_root_sees_are_kept(root: Path, folder: Folder) -> None:
    path = root / "a.jpg"
    os.setxattr(path, "trusted.note", b"\0\xff")
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.chown(path, 1234, 4321)  # which takes the capability
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    before = seen(path)
    assert {"trusted.note", "security.capability"} <= before.xattrs.keys()
    replace_all(folder, root)
    assert seen(path) == before._replace(content=NEW)


@pytest.mark.skipif(not shutil.which("setfacl"), reason="setfacl is not installed")
def test_an_acl_is_kept(root: Path, folder: Folder) -> None:
    path = root / "a.jpg"
    subprocess.run(["setfacl", "-m", "u:65534:rw,g:100:r,m::r", path], check=True)
    before = seen(path)
    assert "system.posix_acl_access" in before.xattrs
    replace_all(folder, root)
    assert seen(path) == before._replace(content=NEW)


@pytest.mark.skipif(not shutil.which("setfacl"), reason="setfacl is not installed")
def test_a_default_acl_of_the_folder_is_not_put_on_a_file_that_had_none(root: Path, folder: Folder) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:65534:rwx,m::rwx", root], check=True)
    (root / "a.jpg").chmod(0o640)
    before = seen(root / "a.jpg")
    assert before.xattrs == {"user.rating": b"5"}
    replace_all(folder, root)
    assert seen(root / "a.jpg") == before._replace(content=NEW)


@needs_root
def test_the_group_of_a_setgid_folder_is_not_put_on_a_file_of_another(root: Path, folder: Folder) -> None:
    os.chown(root, 0, 777)
    root.chmod(0o2775)
    before = seen(root / "a.jpg")
    assert before.gid != 777
    replace_all(folder, root)
    assert seen(root / "a.jpg") == before._replace(content=NEW)


@needs_root
def test_the_no_dump_flag_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(OLD)
    if subprocess.run(["chattr", "+dA", path], capture_output=True).returncode:
        pytest.skip("this filesystem knows no chattr flags")

    def flags() -> bytes:
        return subprocess.run(["lsattr", path], check=True, capture_output=True).stdout

    before = flags()
    assert b"d" in before.split()[0]
    with Folder(os.fsencode(tmp_path)) as folder:
        replace_all(folder, tmp_path)
    assert flags() == before


@pytest.mark.parametrize(
    "name", [b"new\nline.jpg", b"\xff\xfe.png", b"sub/deep/caf\xe9", b"-rf", b"x" * 255, b"sub/" + b"y" * 255]
)
def test_a_file_of_any_name_is_replaced(root: Path, folder: Folder, name: bytes) -> None:
    path = Path(os.fsdecode(folder.root + b"/" + name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(OLD)
    replace_all(folder, root, name)
    assert path.read_bytes() == NEW
    assert temps(root) == []


def test_another_name_of_the_same_file_keeps_the_original(root: Path, folder: Folder) -> None:
    os.link(root / "a.jpg", root / "b.jpg")
    replace_all(folder, root)
    assert (root / "a.jpg").read_bytes() == NEW
    assert (root / "b.jpg").read_bytes() == OLD


def test_until_the_exchange_nothing_stands_in_the_folder_and_closing_leaves_nothing(root: Path, folder: Folder) -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    with start(folder, b"a.jpg", root) as job:
        intend(folder, b"a.jpg", job)
        assert os.listdir(root) == ["a.jpg"]
    assert os.listdir(root) == ["a.jpg"]
    assert (root / "a.jpg").read_bytes() == OLD
    assert len(os.listdir("/proc/self/fd")) == open_before
    job.close()


@needs_filter
@pytest.mark.parametrize("refusals", [["tmpfile"], ["exchange"], ["tmpfile", "exchange"]])
def test_without_nameless_files_or_exchange_the_file_is_replaced_all_the_same(root: Path, refusals: list[str]) -> None:
    path = root / "a.jpg"
    os.setxattr(path, "user.rating", b"5")
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = seen(path)
    status, intents = in_process(root, "a.jpg", *refusals)
    try:
        assert status == 0
        assert [intent.result is None for intent in intents] == ([True, False] if "tmpfile" in refusals else [False])
        assert seen(path) == before._replace(content=NEW)
        assert temps(root) == []
        assert os.listdir(root.parent / "spool") == []
    finally:
        (root.parent / "spool").rmdir()
