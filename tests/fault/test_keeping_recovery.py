"""Killed at any step of a replace that keeps the original: that is at its path or kept, whole, and never removed."""

from __future__ import annotations

import errno
import os
import pickle
import signal
from dataclasses import replace as with_fields
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.replace import UNFINISHED, Recovery, Refused, keeping, recover
from imgoptd.adapters.replace.keeping import find_kept
from imgoptd.core.model import Intent, Kept
from tests.fault.keeping_process import in_process
from tests.replacing import NEW, NEWER, OLD, can_refuse, put_original, said_by, seen
from tests.undoing import bring_back, keep, kept_file

needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")

POINTS = ["after_prepare", "after_link", "after_exchange", "before_keep", "after_keep"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def recovered(root: Path, state: Path, intent: Intent) -> Recovery:
    """Recover, and again, which must change nothing more."""
    with Folder(os.fsencode(root)) as folder:
        done = recover(folder, intent, os.fsencode(state))
        again = recover(folder, intent, os.fsencode(state))
    assert (again.finished, again.identity, again.settled) == (done.finished, done.identity, True)
    assert again.kept == done.kept
    return done


def row_of(intent: Intent, done: Recovery) -> Kept:
    assert intent.keep is not None and intent.result is not None and done.kept is not None
    return Kept(
        intent.ref, intent.keep, done.kept, intent.original_sha256, done.identity or intent.result, intent.result_sha256
    )


def left(root: Path, state: Path) -> list[Path]:
    """Everything below both folders but folders, `a.jpg` and what is kept on purpose."""
    found = [path for top in (root, state) for path in top.rglob("*") if path.is_file()]
    return [path for path in found if path.name != "a.jpg" and len(path.name) != 64 + 1 + 8]


def no_place_in(root: Path) -> None:
    """The daemon may not keep originals there: something else stands in the way."""
    (root / ".imgoptd").write_bytes(b"somebody else's")


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_the_original_is_at_its_path_or_kept(root: Path, state: Path, point: str) -> None:
    before = seen(root / "a.jpg")
    status, intents = in_process(root, state, failpoint="replace." + point)
    assert status == -signal.SIGKILL
    if not intents:
        assert seen(root / "a.jpg") == before
        return
    done = recovered(root, state, intents[-1])
    assert left(root, state) == []
    exchanged = point not in ("after_prepare", "after_link")
    assert (done.finished, done.kept is not None) == (exchanged, exchanged)
    assert seen(root / "a.jpg") == before._replace(content=NEW if exchanged else OLD)
    if exchanged:
        kept = row_of(intents[-1], done)
        assert seen(kept_file(kept, state)) == before
        bring_back(kept, state)
        assert seen(root / "a.jpg") == before


@pytest.mark.parametrize("point", ["after_copy", "after_link", "after_exchange", "before_unlink", "after_unlink"])
def test_killed_at_any_step_with_a_copied_original_likewise(root: Path, state: Path, point: str) -> None:
    no_place_in(root)
    before = seen(root / "a.jpg")
    status, intents = in_process(root, state, failpoint="replace." + point)
    assert status == -signal.SIGKILL
    done = recovered(root, state, intents[-1])
    exchanged = point not in ("after_copy", "after_link")
    assert (done.finished, done.kept is not None) == (exchanged, exchanged)
    assert left(root, state) == [root / ".imgoptd"]
    assert len(list((state / "undo").iterdir())) == exchanged, "a copy of what stands at its path is of no use"
    if exchanged:
        bring_back(row_of(intents[-1], done), state)
    assert seen(root / "a.jpg") == before
    assert list((state / "undo").iterdir()) == []


@needs_filter
@pytest.mark.parametrize("point", ["after_materialise", "after_exchange", "before_keep", "after_keep"])
def test_killed_at_any_step_with_a_copied_result_likewise(root: Path, state: Path, point: str) -> None:
    before = seen(root / "a.jpg")
    status, intents = in_process(root, state, "tmpfile", failpoint="replace." + point)
    assert status == -signal.SIGKILL
    done = recovered(root, state, intents[-1])
    assert done.finished == (point != "after_materialise")
    assert left(root, state) == []
    if done.finished:
        assert seen(kept_file(row_of(intents[-1], done), state)) == before
    else:
        assert seen(root / "a.jpg") == before


@needs_filter
@pytest.mark.parametrize("point", ["after_copy", "after_rename"])
def test_killed_around_a_plain_rename_the_original_was_copied_before(root: Path, state: Path, point: str) -> None:
    before = seen(root / "a.jpg")
    status, intents = in_process(root, state, "exchange", failpoint="replace." + point)
    assert status == -signal.SIGKILL
    done = recovered(root, state, intents[-1])
    assert left(root, state) == []
    assert done.finished == (point == "after_rename")
    if done.finished:
        assert seen(kept_file(row_of(intents[-1], done), state)) == before
    else:
        assert seen(root / "a.jpg") == before
        assert list((root / ".imgoptd" / "undo").iterdir()) == []


# ---- what happened between the crash and the next start -------------------------------------------------------------


def displaced(root: Path, state: Path, point: str = "after_exchange") -> Intent:
    status, intents = in_process(root, state, failpoint="replace." + point)
    assert status == -signal.SIGKILL
    return intents[-1]


def test_a_file_saved_over_the_result_stays_and_the_original_is_kept(root: Path, state: Path) -> None:
    intent = displaced(root, state)
    (root / "draft").write_bytes(NEWER)
    (root / "draft").rename(root / "a.jpg")
    done = recovered(root, state, intent)
    assert not done.finished
    assert seen(root / "a.jpg").content == NEWER
    assert seen(kept_file(row_of(intent, done), state)).content == OLD


def test_a_file_saved_over_the_result_after_the_original_was_kept_changes_nothing(root: Path, state: Path) -> None:
    intent = displaced(root, state, "after_keep")
    (root / "draft").write_bytes(NEWER)
    (root / "draft").rename(root / "a.jpg")
    done = recovered(root, state, intent)
    assert not done.finished
    assert seen(kept_file(row_of(intent, done), state)).content == OLD


def test_where_the_place_was_removed_it_is_made_again(root: Path, state: Path) -> None:
    intent = displaced(root, state)
    (root / ".imgoptd" / "undo").rmdir()
    (root / ".imgoptd").rmdir()
    done = recovered(root, state, intent)
    assert seen(kept_file(row_of(intent, done), state)).content == OLD


def test_where_something_stands_in_the_places_way_the_original_stays_displaced_until_it_is_gone(
    root: Path, state: Path
) -> None:
    intent = displaced(root, state)
    (root / ".imgoptd" / "undo").rmdir()
    (root / ".imgoptd" / "undo").symlink_to(state)
    with Folder(os.fsencode(root)) as folder:
        done = recover(folder, intent, os.fsencode(state))
    assert not done.settled
    assert seen(root / os.fsdecode(intent.temp_name)).content == OLD
    (root / ".imgoptd" / "undo").unlink()
    assert recovered(root, state, intent).kept is not None


def test_another_file_under_the_kept_name_is_neither_overwritten_nor_taken_for_the_original(
    root: Path, state: Path
) -> None:
    intent = displaced(root, state)
    assert intent.keep is not None
    stranger = root / ".imgoptd" / "undo" / os.fsdecode(intent.keep.name)
    stranger.write_bytes(NEWER)
    with Folder(os.fsencode(root)) as folder:
        done = recover(folder, intent, os.fsencode(state))
    assert not done.settled and "move it away" in done.sentence
    assert stranger.read_bytes() == NEWER
    assert seen(root / os.fsdecode(intent.temp_name)).content == OLD


def test_a_newer_file_that_got_the_originals_inode_number_costs_no_kept_copy(root: Path, state: Path) -> None:
    no_place_in(root)
    intent = displaced(root, state, "after_unlink")
    (root / "draft").write_bytes(NEWER)
    (root / "draft").rename(root / "a.jpg")
    # A filesystem gives the number of an inode that is gone to the next file that is made.
    number = (root / "a.jpg").stat().st_ino
    intent = with_fields(intent, original=intent.original._replace(ino=number))
    done = recovered(root, state, intent)
    assert seen(root / "a.jpg").content == NEWER
    assert seen(kept_file(row_of(intent, done), state)).content == OLD


def test_an_unfinished_copy_of_an_original_that_was_written_to_since_is_removed(root: Path, state: Path) -> None:
    no_place_in(root)
    intent = displaced(root, state, "after_copy")
    assert intent.keep is not None
    copy = state / "undo" / os.fsdecode(intent.keep.name)
    copy.rename(copy.with_name(copy.name + ".part"))  # as on a filesystem where it has that name until it is whole
    (root / "a.jpg").write_bytes(NEWER)
    assert recovered(root, state, intent).kept is None
    assert list((state / "undo").iterdir()) == []


# ---- disks that report errors ---------------------------------------------------------------------------------------


def test_an_original_whose_keeping_cannot_be_put_on_disk_is_left_to_recovery_which_knows_it(
    root: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def sick(folder_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(keeping, "sync_folder", sick)
    with pytest.raises(Refused) as refused:
        keep(root, state, saved=True)
    monkeypatch.undo()
    assert refused.value.failure.reason == UNFINISHED
    intent = pickle.loads(capfdbinary.readouterr().out[4:])
    assert seen(kept_file(row_of(intent, recovered(root, state, intent)), state)).content == OLD
    assert seen(root / "a.jpg").content == NEW


@needs_filter
@pytest.mark.parametrize("point", ["after_keep", "after_exchange"])
def test_a_recovery_whose_names_cannot_be_put_on_disk_is_made_again(tmp_path: Path, state: Path, point: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    put_original(root)
    intent = displaced(root, state, point)
    code = (
        "refuse('fsync')\n"
        "with Folder(os.fsencode(sys.argv[1])) as folder:\n"
        "    done = recover(folder, pickle.loads(bytes.fromhex(sys.argv[3])), os.fsencode(sys.argv[2]))\n"
        "    print(done.settled)\n"
    )
    assert said_by(code, str(root), str(state), pickle.dumps(intent).hex()) == "False"
    assert recovered(root, state, intent).kept is not None


def test_a_kept_name_that_names_nothing_is_found_empty(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert find_kept(fd, b"nothing") is None
        (tmp_path / "folder").mkdir()
        assert find_kept(fd, b"folder") is None
    finally:
        os.close(fd)
