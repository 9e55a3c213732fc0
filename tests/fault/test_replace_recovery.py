"""After a crash at any step, whatever happened since, the old or the new content stands whole and no temp is left."""

from __future__ import annotations

import os
import signal
from dataclasses import replace as with_fields
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.replace import recover
from imgoptd.core.model import Identity, Intent
from tests.replacing import (
    NEW,
    NEWER,
    OLD,
    can_refuse,
    crashed,
    in_process,
    intend,
    recovered,
    seen,
    start,
    temps,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")

POINTS = ["after_prepare", "after_link", "after_exchange", "before_unlink", "after_unlink"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_the_old_or_the_new_stands_whole(root: Path, point: str) -> None:
    before = seen(root / "a.jpg")
    status, intents = in_process(root, "a.jpg", failpoint="replace." + point)
    assert status == -signal.SIGKILL
    if not intents:  # died before the intent was durable: a nameless result ceases to exist by itself
        assert point == "after_prepare"
        assert (seen(root / "a.jpg"), temps(root)) == (before, [])
        return
    done = recovered(root, intents[-1])
    assert done.finished == (point not in ("after_prepare", "after_link"))
    assert seen(root / "a.jpg") == before._replace(content=NEW if done.finished else OLD)
    assert temps(root) == []
    assert done.identity == identity_of((root / "a.jpg").stat())


@needs_filter
@pytest.mark.parametrize(
    "point", ["after_materialise", "after_link", "after_exchange", "before_unlink", "after_unlink"]
)
def test_killed_at_any_step_with_a_copied_result_likewise(root: Path, point: str) -> None:
    before = seen(root / "a.jpg")
    status, intents = in_process(root, "a.jpg", "tmpfile", failpoint="replace." + point)
    assert status == -signal.SIGKILL
    done = recovered(root, intents[-1])
    assert done.finished == (point not in ("after_materialise", "after_link"))
    assert seen(root / "a.jpg") == before._replace(content=NEW if done.finished else OLD)
    assert temps(root) == []


@needs_filter
def test_killed_after_a_plain_rename_it_is_finished(root: Path) -> None:
    before = seen(root / "a.jpg")
    status, intents = in_process(root, "a.jpg", "exchange", failpoint="replace.after_rename")
    assert status == -signal.SIGKILL
    assert recovered(root, intents[-1]).finished
    assert seen(root / "a.jpg") == before._replace(content=NEW)
    assert temps(root) == []


# ---- what happened between the crash and the next start -------------------------------------------------------------


def test_an_original_that_was_written_to_after_the_exchange_is_put_back(root: Path) -> None:
    intent, temp = crashed(root, "after_exchange")
    with temp.open("ab") as file:
        file.write(b"more")
    assert not recovered(root, intent).finished
    assert seen(root / "a.jpg").content == OLD + b"more"
    assert temps(root) == []


def test_an_original_that_is_still_open_for_writing_is_put_back(root: Path) -> None:
    intent, temp = crashed(root, "after_exchange")
    with temp.open("ab") as file:
        assert not recovered(root, intent).finished
        file.write(b"more")
    assert seen(root / "a.jpg").content == OLD + b"more"
    assert temps(root) == []


def test_a_users_newer_file_displaced_by_the_exchange_is_put_back(root: Path) -> None:
    intent, temp = crashed(root, "after_exchange")
    (root / "draft").write_bytes(NEWER)
    (root / "draft").rename(temp)  # as if it had been saved just before the exchange
    assert not recovered(root, intent).finished
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_a_file_saved_over_the_result_stays_and_the_original_goes(root: Path) -> None:
    intent, _ = crashed(root, "after_exchange")
    (root / "draft").write_bytes(NEWER)
    (root / "draft").rename(root / "a.jpg")
    assert not recovered(root, intent).finished
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_a_result_written_to_since_stays_and_the_original_goes(root: Path) -> None:
    intent, _ = crashed(root, "after_exchange")
    with (root / "a.jpg").open("ab") as file:
        file.write(b"edited")
    done = recovered(root, intent)
    assert not done.finished
    assert done.identity == identity_of((root / "a.jpg").stat())
    assert seen(root / "a.jpg").content == NEW + b"edited"
    assert temps(root) == []


def test_a_file_deleted_after_the_crash_is_brought_back_rather_than_lost(root: Path) -> None:
    intent, _ = crashed(root, "after_exchange")
    (root / "a.jpg").unlink()
    assert not recovered(root, intent).finished
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


def test_a_file_deleted_before_any_exchange_stays_deleted(root: Path) -> None:
    intent, _ = crashed(root, "after_link")
    (root / "a.jpg").unlink()
    done = recovered(root, intent)
    assert (done.finished, done.identity) == (False, None)
    assert os.listdir(root) == []


def test_a_file_saved_before_any_exchange_stays(root: Path) -> None:
    intent, _ = crashed(root, "after_link")
    (root / "a.jpg").write_bytes(NEWER)
    assert not recovered(root, intent).finished
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_a_result_that_the_disk_lost_gives_way_to_the_original(root: Path) -> None:
    intent, _ = crashed(root, "after_exchange")
    status = (root / "a.jpg").stat()
    (root / "a.jpg").write_bytes(bytes(len(NEW)))  # the right size and time, and zeros, as after a power cut
    os.utime(root / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    done = recovered(root, intent)
    assert not done.finished
    assert seen(root / "a.jpg").content == OLD
    assert temps(root) == []


def test_two_versions_of_which_none_is_known_to_be_newer_are_both_kept(root: Path) -> None:
    intent, temp = crashed(root, "after_exchange")
    for path, content in ((temp, NEWER), (root / "a.jpg", b"another")):
        (root / "draft").write_bytes(content)
        (root / "draft").rename(path)
    done = recovered(root, intent)
    assert seen(root / "a.jpg").content == b"another"
    assert [(root / name).read_bytes() for name in temps(root)] == [NEWER]
    assert temps(root)[0] in done.sentence
    assert not temps(root)[0].startswith(".")


def test_a_folder_that_took_the_temps_name_is_kept(root: Path) -> None:
    intent, temp = crashed(root, "after_link")
    temp.unlink()
    temp.mkdir()
    (temp / "inside").write_bytes(NEWER)
    recovered(root, intent)
    assert seen(root / "a.jpg").content == OLD
    assert [(root / name / "inside").read_bytes() for name in temps(root)] == [NEWER]


def test_an_intent_that_knows_no_result_never_removes_the_original(root: Path) -> None:
    with Folder(os.fsencode(root)) as folder, start(folder, b"a.jpg", root) as job:
        intent = with_fields(intend(folder, b"a.jpg", job), result=None)
    (root / "a.jpg").rename(root / os.fsdecode(intent.temp_name))
    recovered(root, intent)
    assert [(root / name).read_bytes() for name in temps(root)] == [OLD]


@pytest.mark.parametrize("point", ["after_link", "after_exchange", "after_unlink"])
def test_another_device_number_after_a_mount_does_not_confuse_it(root: Path, point: str) -> None:
    intent, _ = crashed(root, point)
    assert intent.result is not None
    elsewhere = with_fields(intent, original=intent.original._replace(dev=1), result=intent.result._replace(dev=1))
    assert recovered(root, elsewhere).finished == (point != "after_link")
    assert seen(root / "a.jpg").content == (OLD if point == "after_link" else NEW)
    assert temps(root) == []


def test_another_device_number_does_not_stop_a_newer_file_from_being_put_back(root: Path) -> None:
    intent, temp = crashed(root, "after_exchange")
    (root / "draft").write_bytes(NEWER)
    (root / "draft").rename(temp)
    assert intent.result is not None
    recovered(root, with_fields(intent, original=intent.original._replace(dev=1), result=intent.result._replace(dev=1)))
    assert seen(root / "a.jpg").content == NEWER
    assert temps(root) == []


def test_a_folder_that_is_gone_settles_the_intent_and_a_disk_that_is_not_there_does_not(root: Path) -> None:
    gone = Intent(
        ref=crashed(root, "after_exchange")[0].ref._replace(path=b"sub/a.jpg"),
        temp_name=b".imgoptd-0123456789abcdef.tmp",
        original=Identity(root.stat().st_dev, 5, 5, 5),
        result=Identity(root.stat().st_dev, 6, 6, 6),
        result_sha256="",
    )
    with Folder(os.fsencode(root)) as folder:
        assert recover(folder, gone).settled
        assert not recover(folder, with_fields(gone, original=gone.original._replace(dev=1))).settled
