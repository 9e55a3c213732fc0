"""A scan finds every path below a folder, once, in order, and nothing outside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.scanner import PIECE, walk
from imgoptd.core.model import Identity
from imgoptd.core.rescan import Entry, Kind, Seen
from tests.replacing import PROJECT

FIELDS = (*Seen._fields, "mark")


def nothing(path: bytes) -> bool:
    return False


def files(pieces: Iterator[list[Entry]]) -> Iterator[bytes]:
    return (seen.path for piece in pieces for seen in piece if seen.kind < Kind.LISTED)


def found(
    root: Path, recursive: bool = True, skip: Callable[[bytes], bool] = nothing
) -> tuple[list[bytes], list[tuple[bytes, OSError]]]:
    errors: list[tuple[bytes, OSError]] = []
    with Folder(os.fsencode(root)) as folder:
        paths = list(files(walk(folder, recursive, skip, lambda path, error: errors.append((path, error)))))
    return paths, errors


def plant(root: Path, *paths: bytes) -> None:
    for path in paths:
        full = os.fsencode(root) + b"/" + path
        os.makedirs(full.rpartition(b"/")[0], exist_ok=True)
        with open(full, "wb"):
            pass


def test_entries_come_in_the_order_of_the_bytes_of_their_paths(tmp_path: Path) -> None:
    paths = [b"b", b"a", b"z/1", b"m/n/2", b"m/n/1", b"m/a", b"m.jpg", b"m0", b"m-", b"m/n.x", b"\xff/\xff"]
    plant(tmp_path, *paths)
    assert found(tmp_path) == (sorted(paths), [])
    with Folder(os.fsencode(tmp_path)) as folder:
        whole = [seen.path for piece in walk(folder, True, nothing, lambda path, error: None) for seen in piece]
    assert whole == sorted([*paths, b"", b"m/", b"m/n/", b"z/", b"\xff/"])


def test_an_entry_carries_what_a_stat_of_it_shows(tmp_path: Path) -> None:
    plant(tmp_path, b"sub/a")
    (tmp_path / "sub" / "a").write_bytes(b"12345")
    (tmp_path / "sub" / "a").chmod(0o440)
    status = (tmp_path / "sub" / "a").stat()
    with Folder(os.fsencode(tmp_path)) as folder:
        [[_], [_], [seen]] = walk(folder, True, nothing, lambda path, error: None)
    identity = Identity(status.st_dev, status.st_ino, 5, status.st_mtime_ns)
    spelled = Seen(b"sub/a", Kind.REGULAR, identity, 0o440, 1, status.st_uid, status.st_ctime_ns)
    assert {name: getattr(seen, name) for name in FIELDS} == {name: getattr(spelled, name) for name in FIELDS}
    assert spelled.mark == f":{status.st_ino}:5:{status.st_mtime_ns}"


def test_what_is_no_regular_file_has_no_mark(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    with Folder(os.fsencode(tmp_path)) as folder:
        [[_], entries] = walk(folder, True, nothing, lambda path, error: None)
    assert [(entry.kind, entry.mark) for entry in entries] == [(Kind.SYMLINK, ""), (Kind.OTHER, "")]


def test_a_long_folder_comes_in_pieces_and_each_is_looked_at_when_its_time_comes(tmp_path: Path) -> None:
    plant(tmp_path, *(b"%04d" % number for number in range(PIECE + 10)))
    with Folder(os.fsencode(tmp_path)) as folder:
        pieces = walk(folder, True, nothing, lambda path, error: None)
        assert [len(next(pieces)), len(next(pieces))] == [1, PIECE]
        (tmp_path / f"{PIECE:04d}").unlink()
        assert [len(piece) for piece in pieces] == [9]


def test_names_that_are_not_utf8_or_hold_newlines_are_found(tmp_path: Path) -> None:
    names = [b"\n", b"caf\xe9/\xff.jpg", b"new\nline/a"]
    plant(tmp_path, *names)
    assert found(tmp_path)[0] == names


def test_without_recursion_only_the_folder_itself_is_read(tmp_path: Path) -> None:
    plant(tmp_path, b"a", b"sub/b")
    assert found(tmp_path, recursive=False) == ([b"a"], [])


def test_a_skipped_folder_is_not_entered(tmp_path: Path) -> None:
    plant(tmp_path, b"a", b".git/b", b"sub/.git/c", b"sub/d")
    skipped = found(tmp_path, skip=lambda path: path.rpartition(b"/")[2] == b".git")
    assert skipped == ([b"a", b"sub/d"], [])


def test_links_and_fifos_are_found_and_linked_folders_not_entered(tmp_path: Path) -> None:
    plant(tmp_path, b"root/sub/a", b"outside/secret")
    root = tmp_path / "root"
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(".")
    os.mkfifo(root / "fifo")
    assert found(root) == ([b"fifo", b"loop", b"out", b"sub/a"], [])


def test_a_folder_that_vanishes_or_becomes_a_link_meanwhile_is_no_error(tmp_path: Path) -> None:
    plant(tmp_path, b"a", b"gone/b", b"swapped/c", b"z/d")
    errors: list[bytes] = []
    with Folder(os.fsencode(tmp_path)) as folder:
        paths = files(walk(folder, True, nothing, lambda path, error: errors.append(path)))
        assert next(paths) == b"a"
        shutil.rmtree(tmp_path / "gone")
        shutil.rmtree(tmp_path / "swapped")
        (tmp_path / "swapped").symlink_to("/etc")
        assert list(paths) == [b"z/d"]
    assert errors == []


def test_no_descriptor_is_open_between_two_paths(tmp_path: Path) -> None:
    plant(tmp_path, b"/".join([b"deep"] * 60) + b"/a")
    with Folder(os.fsencode(tmp_path)) as folder:
        pieces = walk(folder, True, nothing, lambda path, error: None)
        assert {open_below(tmp_path) for _ in pieces} == {1}, "only the held folder"


def open_below(folder: Path) -> int:
    """How many of this process's descriptors are of the folder or of something in it."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith(os.fspath(folder))
        except FileNotFoundError:
            continue  # that of the listing itself
    return count


def test_a_path_too_long_for_the_kernel_is_reported_and_the_rest_found(tmp_path: Path) -> None:
    plant(tmp_path, b"z/a")
    fd = os.open(tmp_path, os.O_RDONLY)
    name = b"y" * 250
    for _ in range(17):  # 17 times 251 bytes are more than PATH_MAX
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        paths, errors = found(tmp_path)
        assert paths == [b"z/a"]
        assert [len(path) for path, _ in errors] == [17 * 251 - 1]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / name.decode()], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_folder_that_may_not_be_read_is_reported_and_left_out(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom imgoptd.adapters.beneath import Folder\nfrom imgoptd.adapters.scanner import walk\n"
        "folder = Folder(os.fsencode(sys.argv[1]))\n"
        "os.setresgid(65534, 65534, 65534)\nos.setresuid(65534, 65534, 65534)\n"
        "say = lambda path, error: print('error', path, error.strerror)\n"
        "for piece in walk(folder, True, lambda path: False, say):\n"
        "    for seen in piece: print(seen.path, seen.kind.name)\n"
    )
    plant(tmp_path, b"a", b"closed/b", b"z/c")
    tmp_path.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == [
        "b'' LISTED",
        "b'a' REGULAR",
        "error b'closed' Permission denied",
        "b'closed/' UNLISTED",
        "b'z/' LISTED",
        "b'z/c' REGULAR",
    ], done.stderr
