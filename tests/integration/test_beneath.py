"""No path leads out of a watched folder, whatever its owner puts on the way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder, open_beneath, reopen_for_reading
from tests.replacing import PROJECT, can_refuse

ODD_NAMES = [b"new\nline.jpg", b"not-utf8-\xff\xfe.png", b"-rf", b" ", b"\xe2\x98\xba.jpg", b"x" * 255, b"tab\t\x01"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, and a secret beside it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    inside = tmp_path / "root"
    (inside / "sub").mkdir(parents=True)
    (inside / "sub" / "file").write_bytes(b"file")
    return inside


@pytest.fixture
def folder(root: Path) -> Iterator[Folder]:
    with Folder(os.fsencode(root)) as held:
        yield held


def opened(folder: Folder, path: bytes) -> int:
    """As the product opens a file: held first, then read through what is held."""
    pin = folder.pin(path)
    try:
        return reopen_for_reading(pin)
    finally:
        os.close(pin)


def read(folder: Folder, path: bytes) -> bytes:
    fd = opened(folder, path)
    try:
        return os.pread(fd, 100, 0)
    finally:
        os.close(fd)


def refused(folder: Folder, path: bytes) -> int | None:
    with pytest.raises(OSError) as caught:
        os.close(folder.pin(path))
    return caught.value.errno


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_is_opened(root: Path, folder: Folder, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/sub/" + name)).write_bytes(b"odd")
    assert read(folder, b"sub/" + name) == b"odd"


def test_dot_dot_does_not_lead_out(folder: Folder) -> None:
    assert refused(folder, b"../secret") == errno.EXDEV
    assert refused(folder, b"sub/../../secret") == errno.EXDEV


def test_an_absolute_path_is_no_path_below_the_folder(root: Path, folder: Folder) -> None:
    assert refused(folder, os.fsencode(root.parent / "secret")) == errno.EINVAL
    held = os.open(root, os.O_PATH)
    try:
        with pytest.raises(OSError) as caught:
            open_beneath(held, os.fsencode(root.parent / "secret"), os.O_RDONLY)
    finally:
        os.close(held)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize("path", [b"", b".", b"..", b"sub/", b"sub/..", b"a\0b"])
def test_what_can_be_no_file_name_is_refused(folder: Folder, path: bytes) -> None:
    assert refused(folder, path) == errno.EINVAL


def test_a_link_on_the_way_is_not_passed_even_if_it_stays_inside(root: Path, folder: Folder) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    (root / "in").symlink_to("sub")
    assert refused(folder, b"out/secret") == errno.ELOOP
    assert refused(folder, b"in/file") == errno.ELOOP
    with pytest.raises(OSError) as caught:
        folder.open_parent(b"in/file")
    assert caught.value.errno == errno.ELOOP


def test_a_link_at_the_end_is_not_opened_and_pins_as_itself(root: Path, folder: Folder) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    with pytest.raises(OSError) as caught:
        opened(folder, b"link")
    assert caught.value.errno == errno.ELOOP
    pin = folder.pin(b"link")
    try:
        assert os.path.samestat(os.fstat(pin), os.lstat(root / "link"))
    finally:
        os.close(pin)


def test_a_folder_swapped_for_a_link_at_any_moment_never_shows_what_is_outside(root: Path, folder: Folder) -> None:
    (root.parent / "outside" / "file").write_bytes(b"outside")
    (root / "door").symlink_to(root.parent / "outside")
    swaps = [("sub", "aside"), ("door", "sub"), ("sub", "door"), ("aside", "sub")]
    done = threading.Event()

    def answer() -> bytes | int | None:
        try:
            return read(folder, b"sub/file")
        except OSError as error:
            return error.errno

    def swap() -> None:
        while not done.is_set():
            for old, new in swaps:
                (root / old).rename(root / new)

    # Between the steps, where the answer is known.
    told = []
    for old, new in swaps:
        (root / old).rename(root / new)
        told.append(answer())
    assert told == [errno.ENOENT, errno.ELOOP, errno.ENOENT, b"file"]
    # And within them: which of the answers comes how often is chance.
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        answers = {answer() for _ in range(2000)}
    finally:
        done.set()
        swapper.join()
    assert answers <= {b"file", errno.ENOENT, errno.ELOOP}
    assert answer() == b"file"


def test_a_pin_reads_the_file_it_was_made_for_after_another_took_the_name(root: Path, folder: Folder) -> None:
    pin = folder.pin(b"sub/file")
    (root / "sub" / "file").unlink()
    (root / "sub" / "file").write_bytes(b"another")
    fd = reopen_for_reading(pin)
    try:
        assert os.pread(fd, 100, 0) == b"file"
    finally:
        os.close(fd)
        os.close(pin)


def test_a_held_folder_stays_itself_when_it_is_renamed(root: Path, folder: Folder) -> None:
    root.rename(root.parent / "elsewhere")
    root.mkdir()
    assert read(folder, b"sub/file") == b"file"
    status = root.stat()
    assert folder.identity != (status.st_dev, status.st_ino)


def test_descriptors_are_closed_on_exec_and_all_given_back(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Folder(os.fsencode(root)) as folder:
        fds = [
            folder.pin(b"sub/file"),
            folder.open_parent(b"sub/file"),
            folder.open_folder(b"sub"),
            opened(folder, b"sub/file"),
        ]
        assert not any(os.get_inheritable(fd) for fd in fds)
        for fd in fds:
            os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_root_and_a_root_that_is_a_file_are_told_at_once(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Folder(os.fsencode(root / "missing"))
    with pytest.raises(NotADirectoryError):
        Folder(os.fsencode(root / "sub" / "file"))


@pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")
@pytest.mark.parametrize(
    ("how", "said"), [("openat2", "Linux 5.6 or newer is needed"), ("openat2-by-filter", "openat2 is forbidden here")]
)
def test_a_kernel_without_openat2_is_named_as_the_reason(root: Path, how: str, said: str) -> None:
    code = (
        "import os, sys\nfrom imgoptd.adapters.beneath import Folder, KernelTooOld\n"
        "from tests.replacing import refuse\n"
        "refuse(sys.argv[1])\n"
        "try:\n    Folder(os.fsencode(sys.argv[2]))\nexcept KernelTooOld as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, how, str(root)], cwd=PROJECT, capture_output=True, text=True, timeout=30
    )
    assert said in done.stdout, done.stderr
