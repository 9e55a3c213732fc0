"""Other programs do what they like at the worst moment of an exchange; nothing of theirs is lost.

The named failpoints between the steps of an exchange are used to act there, in this process, on real files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imgoptd.adapters import failpoints
from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.replace import ReplaceError, recover
from imgoptd.core.model import Failure, FailureKind
from tests.replacing import NEW, NEWER, NEWEST, OLD, drop_in, finish, intend, seen, start, temps


class Meanwhile:
    """Runs actions at failpoints: the n-th time a point is hit, the n-th action given for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.actions: dict[str, list[Callable[[], object]]] = {}
        monkeypatch.setattr(failpoints, "hit", self._hit)

    def at(self, point: str, *actions: Callable[[], object]) -> None:
        self.actions["replace." + point] = list(actions)

    def _hit(self, point: str) -> None:
        waiting = self.actions.get(point)
        if waiting:
            waiting.pop(0)()

    def all_ran(self) -> bool:
        return not any(self.actions.values())


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    return Meanwhile(monkeypatch)


def clean_up(root: Path) -> Callable[[], object]:
    """Somebody removes every hidden file of ours."""

    def act() -> None:
        for name in temps(root):
            (root / name).unlink()

    return act


def failed(folder: Folder, root: Path, meanwhile: Meanwhile, opened: int = 0) -> Failure:
    """Replace `a.jpg` with all that happens meanwhile; the failure. `opened` descriptors are the test's own."""
    open_before = len(os.listdir("/proc/self/fd")) + opened
    with start(folder, b"a.jpg", root) as job:
        intent = intend(folder, b"a.jpg", job)
        with pytest.raises(ReplaceError) as caught:
            finish(job, intent)
    assert meanwhile.all_ran()
    assert len(os.listdir("/proc/self/fd")) == open_before
    after = {path.name: path.lstat().st_ino for path in root.iterdir()}
    assert recover(folder, intent).settled
    assert {path.name: path.lstat().st_ino for path in root.iterdir()} == after, "recovery found something left to do"
    return caught.value.failure


def kept(root: Path) -> list[bytes]:
    return [(root / name).read_bytes() for name in temps(root)]


def test_a_file_saved_just_before_the_exchange_comes_back(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_link", drop_in(root, NEWER))
    assert failed(folder, root, meanwhile).kind is FailureKind.CHANGED
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_a_file_saved_just_after_the_exchange_stays(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_exchange", drop_in(root, NEWER))
    with start(folder, b"a.jpg", root) as job:
        finish(job, intend(folder, b"a.jpg", job))
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_of_two_saves_around_the_exchange_the_later_stands(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_link", drop_in(root, NEWER))
    meanwhile.at("after_exchange", drop_in(root, NEWEST))
    failed(folder, root, meanwhile)
    assert seen(root / "a.jpg").content == NEWEST
    assert kept(root) == [NEWER]  # who saved last may have read our result, not it


def test_of_many_saves_within_the_undoing_the_last_stands(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_link", drop_in(root, b"1"))
    meanwhile.at("after_exchange", drop_in(root, b"2"))
    meanwhile.at("after_exchange_back", *(drop_in(root, b"%d" % number) for number in range(3, 20)))
    failed(folder, root, meanwhile)
    assert seen(root / "a.jpg").content == b"19"
    assert kept(root) == [b"18"]  # those before were saved over while they stood at the path


def test_saves_without_end_stop_the_undoing_and_lose_nothing(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_link", drop_in(root, b"0"))
    meanwhile.at("after_exchange", drop_in(root, b"1"))
    meanwhile.at("after_exchange_back", *(drop_in(root, b"%d" % number) for number in range(2, 101)))
    failure = failed(folder, root, meanwhile)
    # the last save came after the last look, so it and what it was saved over are both there
    assert sorted([seen(root / "a.jpg").content, *kept(root)]) == [b"100", b"99"]
    assert "is kept as imgoptd-kept-" in failure.detail


def test_a_displaced_file_whose_stand_in_was_moved_away_is_kept_beside_the_newest(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    def back_up_and_save() -> None:
        (root / "a.jpg").rename(root / "a.bak")
        drop_in(root, NEWEST)()

    meanwhile.at("after_link", drop_in(root, NEWER))
    meanwhile.at("after_exchange", back_up_and_save)
    failure = failed(folder, root, meanwhile)
    assert seen(root / "a.jpg").content == NEWEST
    assert kept(root) == [NEWER]
    assert temps(root)[0].endswith("-a.jpg")
    assert temps(root)[0] in failure.detail


def test_a_file_saved_and_deleted_again_around_the_exchange_is_brought_back(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    """The deletion hit our stand-in; to bring back a file too many is better than to lose one."""
    meanwhile.at("after_link", drop_in(root, NEWER))
    meanwhile.at("after_exchange", (root / "a.jpg").unlink)
    failed(folder, root, meanwhile)
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_a_file_deleted_just_before_the_exchange_stays_deleted(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    meanwhile.at("after_link", (root / "a.jpg").unlink)
    assert failed(folder, root, meanwhile).reason == "vanished"
    assert os.listdir(root) == []


def test_a_file_deleted_just_after_the_exchange_stays_deleted(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_exchange", (root / "a.jpg").unlink)
    with start(folder, b"a.jpg", root) as job:
        finish(job, intend(folder, b"a.jpg", job))
    assert os.listdir(root) == []


@pytest.mark.parametrize("point", ["after_link", "after_exchange"])
def test_a_writer_with_the_original_open_at_the_exchange_gets_it_back(
    root: Path, folder: Folder, meanwhile: Meanwhile, point: str
) -> None:
    writers: list[int] = []
    original = root / "a.jpg"
    inode = original.stat().st_ino
    names = {"after_link": original, "after_exchange": None}

    def open_it() -> None:
        path = names[point] or next(root.glob(".imgoptd-*"))  # the original, by whichever name it has then
        writers.append(os.open(path, os.O_WRONLY | os.O_APPEND))

    meanwhile.at(point, open_it)
    failure = failed(folder, root, meanwhile, opened=1)
    assert (failure.kind, failure.reason) == (FailureKind.CHANGED, "busy")
    assert original.stat().st_ino == inode
    assert temps(root) == []
    os.write(writers[0], b"more")
    os.close(writers[0])
    assert seen(original).content == OLD + b"more"


def test_a_writer_that_had_the_original_open_and_closed_it_after_the_exchange_is_noticed(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    writers: list[int] = []

    def write_and_close() -> None:
        os.write(writers[0], b"more")
        os.close(writers[0])

    meanwhile.at("after_link", lambda: writers.append(os.open(root / "a.jpg", os.O_WRONLY | os.O_APPEND)))
    meanwhile.at("after_exchange", write_and_close)
    assert failed(folder, root, meanwhile).reason == "changed"
    assert seen(root / "a.jpg").content == OLD + b"more"
    assert temps(root) == []


def test_a_chmod_in_the_last_moment_is_not_undone(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_link", lambda: (root / "a.jpg").chmod(0o600))
    assert failed(folder, root, meanwhile).reason == "changed"
    assert (root / "a.jpg").stat().st_mode & 0o777 == 0o600
    assert seen(root / "a.jpg").content == OLD


def test_when_both_versions_were_written_to_both_are_kept(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    writers: list[int] = []

    def write_to_both() -> None:
        os.write(writers[0], b"to the original")
        with (root / "a.jpg").open("ab") as result:
            result.write(b"to the result")

    meanwhile.at("after_link", lambda: writers.append(os.open(root / "a.jpg", os.O_WRONLY | os.O_APPEND)))
    meanwhile.at("after_exchange", write_to_both)
    try:
        failed(folder, root, meanwhile, opened=1)
    finally:
        os.close(writers[0])
    assert seen(root / "a.jpg").content == OLD + b"to the original"
    assert kept(root) == [NEW + b"to the result"]


def test_a_result_that_somebody_opened_for_writing_is_not_removed_under_them(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    writers: list[int] = []
    meanwhile.at("after_link", drop_in(root, NEWER))
    meanwhile.at("after_exchange", lambda: writers.append(os.open(root / "a.jpg", os.O_WRONLY)))
    try:
        failed(folder, root, meanwhile, opened=1)
        os.write(writers[0], b"THEIRS")
    finally:
        os.close(writers[0])
    assert seen(root / "a.jpg").content == NEWER
    assert kept(root) == [b"THEIRS" + NEW[6:]]


def test_a_folder_put_at_the_path_comes_back_with_all_it_holds(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    def make_folder() -> None:
        (root / "a.jpg").unlink()
        (root / "a.jpg").mkdir()
        (root / "a.jpg" / "inside").write_bytes(NEWER)

    meanwhile.at("after_link", make_folder)
    assert failed(folder, root, meanwhile).kind is FailureKind.CHANGED
    assert seen(root / "a.jpg" / "inside").content == NEWER
    assert temps(root) == []


def test_a_link_put_at_the_path_comes_back_and_its_target_is_untouched(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    (root / "target").write_bytes(NEWER)

    def make_link() -> None:
        (root / "a.jpg").unlink()
        (root / "a.jpg").symlink_to("target")

    meanwhile.at("after_link", make_link)
    assert failed(folder, root, meanwhile).kind is FailureKind.CHANGED
    assert os.readlink(root / "a.jpg") == "target"
    assert seen(root / "target").content == NEWER
    assert temps(root) == []


def test_a_folder_moved_away_during_the_exchange_carries_the_result_with_it(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "a.jpg").write_bytes(OLD)
    meanwhile.at("after_link", lambda: (root / "sub").rename(root / "moved"))
    with start(folder, b"sub/a.jpg", root) as job:
        finish(job, intend(folder, b"sub/a.jpg", job))
    assert seen(root / "moved" / "a.jpg").content == NEW
    assert temps(root) == []


def test_a_temp_that_somebody_cleaned_up_costs_nothing(root: Path, folder: Folder, meanwhile: Meanwhile) -> None:
    meanwhile.at("after_link", clean_up(root))
    assert failed(folder, root, meanwhile).kind is FailureKind.CHANGED
    assert seen(root / "a.jpg").content == OLD


def test_the_original_cleaned_up_by_somebody_after_the_exchange_is_a_finished_exchange(
    root: Path, folder: Folder, meanwhile: Meanwhile
) -> None:
    meanwhile.at("after_exchange", clean_up(root))
    with start(folder, b"a.jpg", root) as job:
        done = finish(job, intend(folder, b"a.jpg", job))
    assert identity_of((root / "a.jpg").stat()) == done.result
