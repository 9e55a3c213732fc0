"""One look at a path tells what stands there and whether it is still being written."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import look, look_around
from imgoptd.adapters.replace import open_input
from imgoptd.core.model import Failure, FailureKind, FileKind, Identity, Lease, Look
from tests import images
from tests.another_user import NOBODY, run_as
from tests.deep import deep
from tests.replacing import PROJECT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(params=["disk", "tmpfs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


def look_at(root: Path, path: bytes, *, ends: bool = False) -> Look:
    with Folder(os.fsencode(root)) as folder:
        return look(folder, path, ends=ends)


def as_nobody(root: Path, path: str) -> str:
    """What an unprivileged process says of the path: kind, lease and detail, one a line."""
    code = (
        "import os, sys\nfrom imgoptd.adapters.beneath import Folder\nfrom imgoptd.adapters.look import look\n"
        "seen = look(Folder(os.fsencode(sys.argv[1])), os.fsencode(sys.argv[2]))\n"
        "print(seen.kind, seen.lease, seen.detail, sep='\\n')"
    )
    done = run_as(NOBODY, code, root, path)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_a_plain_file_is_told_with_its_identity_and_rights(root: Path) -> None:
    path = root / "a.jpg"
    path.write_bytes(b"content")
    path.chmod(0o640)
    os.link(path, root / "b.jpg")
    status = path.stat()
    seen = look_at(root, b"a.jpg")
    assert seen == Look(
        FileKind.REGULAR,
        identity=Identity(status.st_dev, status.st_ino, 7, status.st_mtime_ns),
        uid=os.geteuid(),
        mode=0o640,
        nlink=2,
        immutable=False,
        lease=Lease.GRANTED,
        close_is_whole=True,
        ctime_ns=status.st_ctime_ns,
    )


def test_it_is_told_whether_a_file_ends_as_whole_ones_do_where_that_is_asked(root: Path) -> None:
    path = root / "a.jpg"
    for name, whole in {**images.jpegs(), **images.pngs()}.items():
        path.write_bytes(whole[:-1])
        assert not look_at(root, b"a.jpg", ends=True).ends_whole, name
    path.write_bytes(images.jpegs()["everything.jpg"])
    assert look_at(root, b"a.jpg", ends=True).ends_whole
    assert not look_at(root, b"a.jpg").ends_whole, "nobody asked"
    path.write_bytes(b"")
    assert not look_at(root, b"a.jpg", ends=True).ends_whole


def test_a_file_that_is_open_for_writing_is_busy_until_it_is_closed(root: Path) -> None:
    with (root / "a.jpg").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert look_at(root, b"a.jpg").lease is Lease.BUSY
    assert look_at(root, b"a.jpg").lease is Lease.GRANTED


def test_a_writable_mapping_keeps_a_file_busy_after_it_was_closed(root: Path) -> None:
    path = root / "a.jpg"
    path.write_bytes(b"x" * 4096)
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 4096)
    try:
        assert look_at(root, b"a.jpg").lease is Lease.BUSY
    finally:
        mapping.close()
    assert look_at(root, b"a.jpg").lease is Lease.GRANTED


def test_a_reader_does_not_make_a_file_busy(root: Path) -> None:
    path = root / "a.jpg"
    path.write_bytes(b"x")
    with path.open("rb"):
        assert look_at(root, b"a.jpg").lease is Lease.GRANTED


def test_looking_and_reading_leave_the_access_time_as_it_was(root: Path) -> None:
    path = root / "a.jpg"
    path.write_bytes(b"x")
    os.utime(path, ns=(1_000_000_000, 2_000_000_000))  # older than mtime: relatime would move it
    with Folder(os.fsencode(root)) as folder:
        identity = look(folder, b"a.jpg").identity
        assert identity is not None
        fd = open_input(folder, b"a.jpg", identity)
        try:
            assert sha256_of(fd) == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        finally:
            os.close(fd)
    assert path.stat().st_atime_ns == 1_000_000_000


def test_a_fifo_is_told_and_never_opened(root: Path) -> None:
    os.mkfifo(root / "fifo")
    seen = look_at(root, b"fifo")
    assert (seen.kind, seen.identity) == (FileKind.OTHER, None)
    assert "FIFO" in seen.detail


def test_folders_sockets_and_devices_are_no_files_with_content(root: Path) -> None:
    (root / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        assert "socket" in look_at(root, b"socket").detail
    assert look_at(root, b"folder").kind is FileKind.OTHER
    if os.geteuid() == 0:
        os.mknod(root / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        assert "device" in look_at(root, b"device").detail


def test_links_are_told_and_not_followed(root: Path) -> None:
    (root / "real").mkdir()
    (root / "real" / "a.jpg").write_bytes(b"x")
    (root / "link.jpg").symlink_to("real/a.jpg")
    (root / "dangling.jpg").symlink_to("nowhere")
    (root / "folder").symlink_to("real")
    for path in (b"link.jpg", b"dangling.jpg", b"folder/a.jpg"):
        seen = look_at(root, path)
        assert seen.kind is FileKind.SYMLINK, path
        assert "never followed" in seen.detail


def test_what_is_not_there_is_gone(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    for path in (b"missing", b"missing/too", b"file/below"):
        assert look_at(root, path).kind is FileKind.GONE, path


def test_what_no_file_here_can_be_called_is_unreadable_with_the_reason(root: Path) -> None:
    (root / "sub").mkdir()
    for path in (b"x" * 256, b"../x", b"sub/../../x", b"a\0b"):
        seen = look_at(root, path)
        assert seen.kind is FileKind.UNREADABLE
        assert seen.detail


def test_a_path_longer_than_the_kernel_takes_is_told_as_that(tmp_path: Path) -> None:
    path = deep(tmp_path, b"a.jpg")
    seen = look_at(tmp_path, path)
    assert (seen.kind, seen.reason) == (FileKind.UNREADABLE, "path-too-long")
    assert "shorten the names" in seen.detail


@needs_root
def test_an_immutable_file_and_an_append_only_file_are_told(tmp_path: Path) -> None:
    for flag in ("i", "a"):
        path = tmp_path / flag
        path.write_bytes(b"x")
        if subprocess.run(["chattr", "+" + flag, path], capture_output=True).returncode:
            pytest.skip("this filesystem knows no chattr flags")
        try:
            assert look_at(tmp_path, flag.encode()).immutable
        finally:
            subprocess.run(["chattr", "-" + flag, path], check=True)
        assert not look_at(tmp_path, flag.encode()).immutable


@needs_root
def test_a_file_that_may_not_be_read_is_unreadable_in_a_sentence(open_root: Path) -> None:
    (open_root / "a.jpg").write_bytes(b"x")
    (open_root / "a.jpg").chmod(0o600)
    assert as_nobody(open_root, "a.jpg") == (
        "unreadable\nunavailable\nnot readable by this process (Permission denied)\n"
    )


@needs_root
def test_a_lease_on_anothers_file_is_unavailable_without_rights(open_root: Path) -> None:
    (open_root / "a.jpg").write_bytes(b"x")
    (open_root / "a.jpg").chmod(0o644)
    assert as_nobody(open_root, "a.jpg").splitlines()[:2] == ["regular", "unavailable"]


def test_a_writer_that_comes_while_the_lease_is_held_makes_the_file_busy_and_does_not_end_us(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom imgoptd.adapters.look import leased_stat\n"
        "real = os.fstat\n"
        "def fstat(fd):\n"  # what is called while the lease is held
        "    try:\n        os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)\n"
        "    except BlockingIOError:\n        print('came')\n"
        "    return real(fd)\n"
        "os.fstat = fstat\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "print(leased_stat(fd)[0])\nos.fstat = real\nprint(leased_stat(fd)[0])\n"
    )
    (tmp_path / "a").write_bytes(b"x")
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["came", "busy", "granted"]), done.stderr


def test_a_file_under_a_writers_lease_is_busy(root: Path) -> None:
    path = root / "a.jpg"
    path.write_bytes(b"x")
    code = (
        "import fcntl, signal, sys\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nfile = open(sys.argv[1], 'r+b')\n"
        "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        seen = look_at(root, b"a.jpg")
    assert (seen.kind, seen.lease) == (FileKind.REGULAR, Lease.BUSY)


@needs_root
def test_a_file_behind_a_read_only_mount_of_a_writable_filesystem_is_told(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    shown = tmp_path / "shown"
    shown.mkdir()
    if subprocess.run(["mount", "--bind", tmp_path / "real", shown], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert not look_at(tmp_path, b"shown/a.jpg").read_only_mount
        subprocess.run(["mount", "-o", "remount,bind,ro,noexec", shown], check=True)
        assert look_at(tmp_path, b"shown/a.jpg").read_only_mount
        assert not look_at(tmp_path, b"real/a.jpg").read_only_mount
    finally:
        subprocess.run(["umount", shown], check=True)


@needs_root
def test_a_filesystem_that_is_read_only_as_a_whole_is_trouble_of_the_disk_and_not_of_the_file(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (tmp_path / "a.jpg").write_bytes(b"x")
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        assert not look_at(tmp_path, b"a.jpg").read_only_mount
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize(
    ("code", "kind", "detail"),
    [
        (errno.EIO, FileKind.UNREADABLE, "not readable (Input/output error)"),
        (errno.ENOENT, FileKind.GONE, ""),
    ],
)
def test_a_file_is_no_better_than_the_folders_around_it(root: Path, code: int, kind: FileKind, detail: str) -> None:
    (root / "a.jpg").write_bytes(b"x")
    plain = look_at(root, b"a.jpg")

    def broken() -> Failure | None:
        raise OSError(code, os.strerror(code))

    seen = look_around(plain, broken)
    assert (seen.kind, seen.detail) == (kind, detail)
    failure = Failure(FailureKind.REJECTED, "reason", "detail")
    assert look_around(plain, lambda: failure).leave == failure
