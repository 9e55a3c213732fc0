"""What is refused before anything is touched, and how it is told."""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import socket
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
    can_refuse,
    identity,
    intend,
    said_by,
    seen,
    start,
    temps,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")


def refusal(folder: Folder, root: Path, size: int = len(NEW)) -> tuple[FailureKind, str]:
    with start(folder, b"a.jpg", root) as job, pytest.raises(ReplaceError) as caught:
        prepare(job, size)
    return caught.value.failure.kind, caught.value.failure.reason


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


@pytest.mark.parametrize("linkable", [True, False])
def test_a_result_that_a_worker_can_still_write_to_is_refused(root: Path, folder: Folder, linkable: bool) -> None:
    with start(folder, b"a.jpg", root) as job:
        job.linkable = linkable
        kept = os.dup(job.output_fd)
        try:
            with pytest.raises(ReplaceError) as caught:
                prepare(job, len(NEW))
        finally:
            os.close(kept)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.UNVERIFIED, "still-written")
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


def test_a_result_that_a_worker_keeps_mapped_for_writing_is_refused(root: Path, folder: Folder) -> None:
    with start(folder, b"a.jpg", root) as job, mmap.mmap(job.output_fd, len(NEW)):
        with pytest.raises(ReplaceError) as caught:
            prepare(job, len(NEW))
        assert caught.value.failure.reason == "still-written"


def test_a_result_whose_descriptor_is_still_under_way_between_processes_is_refused(root: Path, folder: Folder) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, start(folder, b"a.jpg", root) as job:
        socket.send_fds(ours, [b"x"], [job.output_fd])
        with pytest.raises(ReplaceError) as caught:
            prepare(job, len(NEW))
    assert caught.value.failure.reason == "still-written"


def test_a_result_that_is_open_for_writing_before_the_exchange_is_refused(root: Path, folder: Folder) -> None:
    with start(folder, b"a.jpg", root) as job:
        intent = intend(folder, b"a.jpg", job)
        writing = os.open(b"/proc/self/fd/%d" % job.output_fd, os.O_WRONLY)
        try:
            with pytest.raises(ReplaceError) as caught:
                exchange(job, intent)
        finally:
            os.close(writing)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.UNVERIFIED, "still-written")
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


def test_without_leases_a_result_that_changed_before_the_exchange_is_refused(
    root: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "F_SETLEASE", 9999)  # the kernel answers EINVAL, as it does where there are no leases
    with start(folder, b"a.jpg", root) as job:
        kept = os.dup(job.output_fd)
        try:
            intent = intend(folder, b"a.jpg", job)
            os.pwrite(kept, b"EVIL", 0)
            with pytest.raises(ReplaceError) as caught:
                exchange(job, intent)
        finally:
            os.close(kept)
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.UNVERIFIED, "result-changed")
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


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
    with (root / "a.jpg").open("ab"), start(folder, b"a.jpg", root) as job:
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
    return said_by("print(outcome(sys.argv[1]))", str(root), nobody=True)


@needs_root
def test_an_unprivileged_process_replaces_its_own_files(shared: Path) -> None:
    os.chown(shared / "a.jpg", 65534, 65534)
    (shared / "a.jpg").chmod(0o640)
    before = seen(shared / "a.jpg")
    assert said_by_nobody(shared) == "placed"
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
def test_in_a_folder_that_may_be_written_to_but_not_listed_a_file_is_replaced(shared: Path) -> None:
    os.chown(shared / "a.jpg", 65534, 65534)
    shared.chmod(0o733)
    assert said_by_nobody(shared) == "placed"
    assert (shared / "a.jpg").read_bytes() == NEW


@needs_root
def test_a_file_that_may_not_be_read_is_told(shared: Path) -> None:
    (shared / "a.jpg").chmod(0o600)
    with Folder(os.fsencode(shared)) as folder:
        wanted = identity(folder, b"a.jpg")
    code = (
        "try:\n    open_job(Folder(os.fsencode(sys.argv[1])), b'a.jpg', Identity(*map(int, sys.argv[2:])), b'/tmp')\n"
        "except Refused as refused:\n    print(refused.failure.kind, refused.failure.reason)\n"
    )
    assert said_by(code, str(shared), *map(str, wanted), nobody=True) == "transient unreadable"


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("chown", "rejected owner-not-kept"),
        ("fowner", "rejected owner-not-kept"),
        ("fsetid", "transient metadata-not-kept"),  # the setgid bit would be lost without an error
        ("setfcap", "transient metadata-not-kept"),  # the file capability could not be set
    ],
)
def test_root_that_lacks_a_capability_leaves_alone_what_it_could_not_keep(
    shared: Path, missing: str, said: str
) -> None:
    path = shared / "a.jpg"
    os.chown(path, 1234, 4321)
    path.chmod(0o2755)
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    before = seen(path)
    command = ("setpriv", "--bounding-set", "-" + missing)
    assert said_by("print(outcome(sys.argv[1]))", str(shared), before=command) == said
    assert seen(path) == before
    assert temps(shared) == []


@needs_filter
def test_without_a_spool_folder_and_nameless_files_there_is_no_room_for_a_result(root: Path) -> None:
    code = (
        "refuse('tmpfile')\nfolder = Folder(os.fsencode(sys.argv[1]))\n"
        "try:\n    open_job(folder, b'a.jpg', identity(folder, b'a.jpg'), b'/missing/spool')\n"
        "except Refused as refused:\n    print(refused.failure.kind, refused.failure.reason)\n"
    )
    assert said_by(code, str(root)) == "transient no-spool"


def test_a_file_under_a_writers_lease_is_busy(root: Path, folder: Folder) -> None:
    code = (
        "import fcntl\nignore_lease_signals()\nfile = open(sys.argv[1], 'r+b')\n"
        "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "folder = Folder(os.fsencode(sys.argv[2]))\n"
        "try:\n    open_job(folder, b'a.jpg', identity(folder, b'a.jpg'), b'/tmp')\n"
        "except Refused as refused:\n    print(refused.failure.kind, refused.failure.reason)\n"
    )
    assert said_by(code, str(root / "a.jpg"), str(root)) == "changed busy"
