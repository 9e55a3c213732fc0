"""Trying a disk: a file of our own is written there, or the filesystem itself says why not; nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.folder_probe import FolderProbe, probe_folder
from imgoptd.adapters.replace import Refused, open_job
from imgoptd.adapters.room import FLOOR_MOST_BYTES, floor_of, want_of_room
from tests.fault.small_disk import fill, small_disk
from tests.replacing import can_refuse, identity, said_by

needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")
KIB = 1024
PROBE = (
    "from imgoptd.adapters.folder_probe import probe_folder\n"
    "with Folder(os.fsencode(sys.argv[1])) as folder:\n"
    "    found = probe_folder(folder, b'a.jpg', 0, 0)\n"
    "print(found.failure.reason if found.failure else 'well', found.shown)"
)


def probe(root: Path, path: bytes = b"a.jpg", need_bytes: int = 0, dev: int = 0) -> FolderProbe:
    with Folder(os.fsencode(root)) as folder:
        return probe_folder(folder, path, dev, need_bytes)


def reason(found: FolderProbe) -> tuple[str, bool]:
    return (found.failure.reason if found.failure else "well"), found.shown


def test_where_a_file_can_be_written_the_disk_is_well_and_nothing_is_left(tmp_path: Path) -> None:
    assert probe(tmp_path) == FolderProbe(None)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_gone_is_tried_one_level_above(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert probe(tmp_path, b"a/b/c/d.jpg") == FolderProbe(None)


def test_a_disk_that_has_gone_from_the_place_is_not_held_against_what_stands_there_now(tmp_path: Path) -> None:
    assert probe(tmp_path, dev=(1 << 31) - 1, need_bytes=1 << 60) == FolderProbe(None)
    assert probe(tmp_path, dev=tmp_path.stat().st_dev) == FolderProbe(None)


@needs_filter
def test_without_nameless_files_a_named_one_is_written_and_not_left(tmp_path: Path) -> None:
    assert said_by("refuse('tmpfile')\n" + PROBE, str(tmp_path)) == "well False"
    assert os.listdir(tmp_path) == []


@needs_filter
@pytest.mark.parametrize("first", ["", "refuse('tmpfile')\n"], ids=["nameless", "named"])
def test_a_disk_that_cannot_keep_what_is_written_is_sick(tmp_path: Path, first: str) -> None:
    assert said_by(first + "refuse('fsync')\n" + PROBE, str(tmp_path)) == "io-error False"
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_folder_that_may_not_be_written_to_says_nothing_of_its_disk() -> None:
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        made.chmod(0o755)
        assert said_by(PROBE, str(made), nobody=True) == "well False"
    finally:
        made.rmdir()


def test_a_full_disk_says_so_without_being_written_to(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1m") as disk:
        assert reason(probe(disk)) == ("well", False)
        fill(disk / "ballast")
        found = probe(disk)
        assert reason(found) == ("no-space", True)
        assert found.failure is not None and "20.5 KiB" in found.failure.detail, "the floor is named"


def test_a_disk_needs_room_above_the_floor_for_the_file_but_not_for_a_huge_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1m") as disk:
        floor = floor_of(os.statvfs(disk))
        (disk / "ballast").write_bytes(bytes((1 << 20) - floor - 16 * KIB))
        assert reason(probe(disk, need_bytes=8 * KIB)) == ("well", False)
        assert reason(probe(disk, need_bytes=18 * KIB)) == ("no-space", True)
        (disk / "ballast").write_bytes(bytes((1 << 20) - 2 * floor - 8 * KIB))
        assert reason(probe(disk, need_bytes=1 << 40)) == ("well", False), "that is the huge file's own trouble"


def test_a_disk_without_a_free_inode_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1m,nr_inodes=4") as disk:
        for number in range(3):
            (disk / str(number)).touch()
        assert reason(probe(disk)) == ("no-space", False)


def test_a_read_only_filesystem_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert reason(probe(disk)) == ("read-only-filesystem", True)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert reason(probe(disk)) == ("well", False)


# ---- the floor ------------------------------------------------------------------------------------------------------


def space(blocks: int, free: int) -> os.statvfs_result:
    return os.statvfs_result((KIB, KIB, blocks, free, free, 100, 100, 100, 0, 255))


def test_the_floor_is_two_percent_and_no_more_than_a_quarter_of_a_gibibyte() -> None:
    assert floor_of(space(100_000, 0)) == 2_000 * KIB
    assert floor_of(space(1 << 30, 0)) == FLOOR_MOST_BYTES


@pytest.mark.parametrize(("free", "room"), [(2_100, True), (2_099, False)])
def test_there_is_room_while_the_floor_stays_free_beside_the_result(free: int, room: bool) -> None:
    assert (want_of_room(space(100_000, free), 100 * KIB) is None) == room


def test_a_filesystem_that_tells_no_figures_is_taken_to_have_room() -> None:
    assert want_of_room(space(0, 0), 1 << 40) is None


def test_a_job_is_not_begun_where_its_result_would_eat_into_the_floor(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1m") as disk, Folder(os.fsencode(disk)) as folder:
        (disk / "a.jpg").write_bytes(bytes(10 * KIB))
        wanted = identity(folder, b"a.jpg")
        open_job(folder, b"a.jpg", wanted, os.fsencode(tmp_path)).close()
        (disk / "ballast").write_bytes(bytes((1 << 20) - 40 * KIB))
        with pytest.raises(Refused) as caught:
            open_job(folder, b"a.jpg", wanted, os.fsencode(tmp_path))
    failure = caught.value.failure
    assert (failure.kind, failure.reason) == ("transient", "no-space")
    assert "20.5 KiB" in failure.detail
