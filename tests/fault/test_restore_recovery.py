"""Killed at any step of a restore: result or original stands whole at the path, and what is kept is known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.undo import recover_restore
from imgoptd.core.model import Kept
from tests.replacing import NEW, NEWER, OLD, put_original, seen, temps
from tests.undoing import bring_back, died_restoring, keep, kept_file, recovered_restore

EVERYWHERE = pytest.mark.parametrize("inside", [True, False], ids=["renamed", "copied"])
POINTS = pytest.mark.parametrize("point", ["before_exchange", "after_exchange", "after_unlink"])


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    put_original(made)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def died(root: Path, state: Path, point: str, inside: bool = True) -> Kept:
    if not inside:
        (root / ".imgoptd").write_bytes(b"somebody else's")
    return died_restoring(keep(root, state), state, point)


def kept_files(root: Path, state: Path) -> int:
    return sum(len(path.name) == 73 for top in (root, state) for path in top.rglob("*"))


@EVERYWHERE
@POINTS
def test_killed_at_any_step_it_is_restored_or_can_be(root: Path, state: Path, point: str, inside: bool) -> None:
    before = seen(root / "a.jpg")
    kept = died(root, state, point, inside)
    done = recovered_restore(kept, state)
    restored = point != "before_exchange"
    assert done.still_kept != restored
    assert seen(root / "a.jpg") == before._replace(content=OLD if restored else NEW)
    assert (temps(root), kept_files(root, state)) == ([], 0 if restored else 1)
    if not restored:
        assert seen(kept_file(kept, state)) == before
        bring_back(kept, state)
        assert seen(root / "a.jpg") == before


@EVERYWHERE
def test_a_newer_file_displaced_by_the_exchange_goes_back_to_its_path(disk: Path, state: Path, inside: bool) -> None:
    kept = died(disk, state, "after_exchange", inside)
    assert kept.restoring is not None
    temp = disk / os.fsdecode(kept.restoring.temp_name) if not inside else kept_file(kept, state)
    (disk / "draft").write_bytes(NEWER)
    (disk / "draft").rename(temp)  # as if it had been saved just before the exchange
    done = recovered_restore(kept, state)
    assert done.still_kept
    assert (disk / "a.jpg").read_bytes() == NEWER
    assert kept_file(kept, state).read_bytes() == OLD
    assert temps(disk) == []


def test_a_copy_that_is_not_whole_on_disk_costs_no_kept_original(disk: Path, state: Path) -> None:
    kept = died(disk, state, "after_exchange", inside=False)
    status = (disk / "a.jpg").stat()
    (disk / "a.jpg").write_bytes(bytes(len(OLD)))  # as a disk leaves it that lied when it was flushed
    os.utime(disk / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert recovered_restore(kept, state).still_kept
    assert kept_file(kept, state).read_bytes() == OLD
    assert (disk / "a.jpg").read_bytes() == NEW
    bring_back(kept, state)
    assert (disk / "a.jpg").read_bytes() == OLD


def test_a_file_saved_over_the_restored_original_stays(disk: Path, state: Path) -> None:
    kept = died(disk, state, "after_exchange")
    (disk / "draft").write_bytes(NEWER)
    (disk / "draft").rename(disk / "a.jpg")
    done = recovered_restore(kept, state)
    assert not done.still_kept
    assert (disk / "a.jpg").read_bytes() == NEWER
    assert temps(disk) == [] and kept_files(disk, state) == 0


def test_when_two_users_files_met_both_are_there_in_the_end(disk: Path, state: Path) -> None:
    kept = died(disk, state, "after_exchange")
    kept_file(kept, state).write_bytes(NEWER)  # what was displaced is no result of ours
    (disk / "a.jpg").unlink()
    (disk / "a.jpg").write_bytes(b"and one more")
    done = recovered_restore(kept, state)
    assert "two versions" in done.sentence
    (beside,) = temps(disk)
    assert (disk / beside).read_bytes() == NEWER
    assert (disk / "a.jpg").read_bytes() == b"and one more"


def test_what_was_displaced_fills_an_empty_path(disk: Path, state: Path) -> None:
    kept = died(disk, state, "after_exchange")
    kept_file(kept, state).write_bytes(NEWER)
    (disk / "a.jpg").unlink()
    assert not recovered_restore(kept, state).still_kept
    assert (disk / "a.jpg").read_bytes() == NEWER


def test_without_folder_or_place_it_is_told_what_is_still_kept(disk: Path, state: Path) -> None:
    (disk / "sub").mkdir()
    (disk / "a.jpg").rename(disk / "sub" / "b.jpg")
    kept = died_restoring(keep(disk, state, "sub/b.jpg"), state, "before_exchange")
    (disk / "sub").rename(disk / "moved")
    assert recovered_restore(kept, state).still_kept
    (disk / "moved").rename(disk / "sub")
    (disk / ".imgoptd").rename(disk / "gone")
    done = recovered_restore(kept, state)
    assert not done.still_kept and done.identity is not None
    (disk / ".imgoptd").mkdir(mode=0o755)
    with Folder(os.fsencode(disk)) as folder:
        assert not recover_restore(folder, kept, os.fsencode(state)).settled
