"""A result takes a file's place: its content is new, everything else is as before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters import failpoints
from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.replace import Refused, ReplaceError, exchange, open_input, open_job, prepare
from imgoptd.core.model import FailureKind, Identity
from tests.replacing import (
    NEW,
    NEWER,
    OLD,
    PROJECT,
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


@pytest.fixture(params=["disk", "tmpfs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A watched folder with one file `a.jpg`."""
    made = tmp_path / "root" if request.param == "disk" else Path(tempfile.mkdtemp(dir="/dev/shm"))
    made.mkdir(exist_ok=True)
    (made / "a.jpg").write_bytes(OLD)
    os.utime(made / "a.jpg", ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def folder(root: Path) -> Iterator[Folder]:
    with Folder(os.fsencode(root)) as held:
        yield held


def replace_all(folder: Folder, root: Path, name: bytes = b"a.jpg") -> None:
    with start(folder, name, root) as job:
        done = finish(job, intend(folder, name, job))
        assert done.atomic
    assert identity(folder, name) == done.result


def refusal(folder: Folder, root: Path, size: int = len(NEW)) -> tuple[FailureKind, str]:
    with start(folder, b"a.jpg", root) as job, pytest.raises(ReplaceError) as caught:
        prepare(job, size)
    return caught.value.failure.kind, caught.value.failure.reason


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
    assert before.xattrs == {}
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


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reported", [0, len(NEW) - 1, len(NEW) + 1])
def test_a_worker_that_reports_another_size_than_it_wrote_is_not_believed(
    root: Path, folder: Folder, reported: int
) -> None:
    assert refusal(folder, root, reported) == (FailureKind.UNVERIFIED, "result-size")
    assert (root / "a.jpg").read_bytes() == OLD


@pytest.mark.parametrize("result", [b"", OLD, OLD + b"x"])
def test_a_result_that_is_empty_or_not_smaller_is_refused(root: Path, folder: Folder, result: bytes) -> None:
    with start(folder, b"a.jpg", root, result) as job, pytest.raises(ReplaceError) as caught:
        prepare(job, len(result))
    assert caught.value.failure.reason == "not-smaller"


def test_a_file_written_to_meanwhile_is_refused(root: Path, folder: Folder) -> None:
    with start(folder, b"a.jpg", root) as job:
        (root / "a.jpg").write_bytes(NEWER)
        with pytest.raises(ReplaceError) as caught:
            prepare(job, len(NEW))
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.CHANGED, "changed")


def test_a_file_written_to_in_place_with_its_old_size_and_time_is_refused(root: Path, folder: Folder) -> None:
    path = root / "a.jpg"
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    with start(folder, b"a.jpg", root) as job:
        path.write_bytes(OLD[::-1])
        os.utime(path, ns=times)
        assert identity(folder, b"a.jpg") == job.identity
        with pytest.raises(ReplaceError) as caught:
            prepare(job, len(NEW))
    assert caught.value.failure.reason == "changed"


def test_rights_changed_between_prepare_and_exchange_are_not_undone(root: Path, folder: Folder) -> None:
    with start(folder, b"a.jpg", root) as job:
        intent = intend(folder, b"a.jpg", job)
        (root / "a.jpg").chmod(0o600)
        with pytest.raises(ReplaceError) as caught:
            exchange(job, intent)
    assert caught.value.failure.reason == "changed"
    assert seen(root / "a.jpg").content == OLD
    assert (root / "a.jpg").stat().st_mode & 0o777 == 0o600
    assert temps(root) == []


def test_a_file_that_vanished_meanwhile_is_refused_and_not_brought_back(root: Path, folder: Folder) -> None:
    with start(folder, b"a.jpg", root) as job:
        intent = intend(folder, b"a.jpg", job)
        (root / "a.jpg").unlink()
        with pytest.raises(ReplaceError) as caught:
            exchange(job, intent)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.CHANGED, "vanished")
    assert os.listdir(root) == []


def test_a_file_that_is_open_for_writing_is_refused_before_anything_is_named(
    root: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []
    with start(folder, b"a.jpg", root) as job, (root / "a.jpg").open("ab"):
        intent = intend(folder, b"a.jpg", job)
        monkeypatch.setattr(failpoints, "hit", reached.append)
        with pytest.raises(ReplaceError) as caught:
            exchange(job, intent)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.CHANGED, "busy")
    assert reached == []


def test_an_intent_of_another_content_is_a_bug_and_raises(root: Path, folder: Folder) -> None:
    with start(folder, b"a.jpg", root) as job:
        intent = intend(folder, b"a.jpg", job)
        job.identity = Identity(0, 0, 0, 0)
        with pytest.raises(ValueError, match="another content"):
            exchange(job, intent)


def test_opening_tells_what_is_wrong(root: Path, folder: Folder) -> None:
    def reason(name: bytes, wanted: Identity) -> tuple[FailureKind, str]:
        for attempt in (lambda: open_input(folder, name, wanted), lambda: open_job(folder, name, wanted, b"/tmp")):
            with pytest.raises(Refused) as caught:
                attempt()
        return caught.value.failure.kind, caught.value.failure.reason

    known = identity(folder, b"a.jpg")
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("a.jpg")
    (root / "sub").symlink_to(".")
    open_before = len(os.listdir("/proc/self/fd"))
    assert reason(b"missing", known) == (FailureKind.CHANGED, "vanished")
    assert reason(b"missing/too", known) == (FailureKind.CHANGED, "vanished")
    assert reason(b"sub/a.jpg", known) == (FailureKind.CHANGED, "vanished")
    assert reason(b"fifo", known) == (FailureKind.CHANGED, "changed")
    assert reason(b"link", known) == (FailureKind.CHANGED, "changed")
    assert reason(b"a.jpg", known._replace(mtime_ns=1)) == (FailureKind.CHANGED, "changed")
    assert reason(b"a.jpg", known._replace(ino=1)) == (FailureKind.CHANGED, "changed")
    assert len(os.listdir("/proc/self/fd")) == open_before


# ---- without rights -------------------------------------------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may write to."""
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    made.chmod(0o777)
    (made / "a.jpg").write_bytes(OLD)
    yield made
    shutil.rmtree(made)


def said_by_nobody(root: Path) -> str:
    """What an unprivileged process says when it opens a job and finishes it."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom imgoptd.adapters.beneath import Folder\n"
        "from imgoptd.adapters.replace import Refused\nfrom tests.replacing import *\n"
        "root = Path(sys.argv[1])\n"
        "try:\n"
        "    with Folder(os.fsencode(root)) as folder, start(folder, b'a.jpg', root) as job:\n"
        "        print(finish(job, intend(folder, b'a.jpg', job)).atomic)\n"
        "except Refused as refused:\n    print(refused.failure.kind, refused.failure.reason)\n"
    )
    command = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(
        command, cwd=PROJECT, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_root
def test_an_unprivileged_process_replaces_its_own_files(shared: Path) -> None:
    os.chown(shared / "a.jpg", 65534, 65534)
    (shared / "a.jpg").chmod(0o640)
    before = seen(shared / "a.jpg")
    assert said_by_nobody(shared) == "True"
    assert seen(shared / "a.jpg") == before._replace(content=NEW)


@needs_root
def test_a_file_whose_owner_could_not_be_kept_is_left_alone(shared: Path) -> None:
    for uid, gid in ((0, 65534), (65534, 0), (0, 0)):
        os.chown(shared / "a.jpg", uid, gid)
        (shared / "a.jpg").chmod(0o666)
        before = seen(shared / "a.jpg")
        assert said_by_nobody(shared) == "rejected owner-not-kept"
        assert seen(shared / "a.jpg") == before


@needs_root
def test_a_folder_that_may_not_be_written_to_is_told(shared: Path) -> None:
    os.chown(shared / "a.jpg", 65534, 65534)
    shared.chmod(0o755)
    assert said_by_nobody(shared) == "transient folder-not-writable"


@needs_root
def test_a_file_that_may_not_be_read_is_told(shared: Path) -> None:
    (shared / "a.jpg").chmod(0o600)
    with Folder(os.fsencode(shared)) as folder:
        wanted = identity(folder, b"a.jpg")
    code = (
        "import os, sys\nfrom imgoptd.adapters.beneath import Folder\nfrom imgoptd.core.model import Identity\n"
        "from imgoptd.adapters.replace import Refused, open_input\n"
        "try:\n    open_input(Folder(os.fsencode(sys.argv[1])), b'a.jpg', Identity(*map(int, sys.argv[2:])))\n"
        "except Refused as refused:\n    print(refused.failure.kind, refused.failure.reason)\n"
    )
    command = [sys.executable, "-c", code, str(shared), *map(str, wanted)]
    done = subprocess.run(
        command, cwd=PROJECT, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == "transient unreadable", done.stderr


@needs_root
def test_a_sticky_folder_that_forbids_the_rename_is_told_and_left_clean(shared: Path) -> None:
    """In a folder as /tmp, a group member may make files, yet not move those of others."""
    shared.chmod(0o1777)
    os.chown(shared / "a.jpg", 0, 0)
    (shared / "a.jpg").chmod(0o644)
    assert said_by_nobody(shared) == "rejected owner-not-kept"
    assert temps(shared) == []


# ---- filesystems that can do less -----------------------------------------------------------------------------------


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
