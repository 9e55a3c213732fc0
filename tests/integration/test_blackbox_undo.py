"""Originals kept and brought back, by a real daemon and its two programs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import images
from tests.divided_disk import divided_disk
from tests.harness import Daemon, beneath, drop, eventually
from tests.replacing import Seen, seen

KEEP = "[undo]\nlossless = true\n"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon() as made:
        made.write_config(more=KEEP)
        yield made


def dropped(daemon: Daemon, name: str = "sub/a.jpg", seed: int = 1) -> tuple[Path, Seen]:
    """A photo moved in from outside, and what it was."""
    draft = daemon.base / "draft"
    draft.write_bytes(images.jpeg(images.photo(300, 200, seed=seed)))
    draft.chmod(0o640)
    os.setxattr(draft, "user.rating", b"5")
    os.utime(draft, ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))
    before = seen(draft)
    path = daemon.watched / name
    path.parent.mkdir(exist_ok=True)
    draft.rename(path)
    return path, before


def same_but_atime(path: Path, before: Seen) -> bool:
    return seen(path)._replace(atime_ns=0) == before._replace(atime_ns=0)


def steps(daemon: Daemon, path: Path) -> list[str]:
    return [step["step"] for step in daemon.why(path)["steps"]]


def test_where_no_rename_leads_within_a_filesystem_originals_are_kept_and_brought_back_by_copies(
    daemon: Daemon,
) -> None:
    with divided_disk(daemon.watched, "sub"):
        daemon.start()
        path = daemon.watched / "sub" / "a.jpg"
        path.write_bytes(images.jpeg(images.photo(300, 200, seed=1)))
        before = seen(path)
        daemon.wait_done([path])
        assert not same_but_atime(path, before)
        [kept] = [one for one in (daemon.watched / ".imgoptd").rglob("*") if one.is_file()]
        assert same_but_atime(kept, before)
        answer = daemon.ctl("restore", path)
        assert (answer.status, answer.out.split()[0]) == (0, "restored")
        assert same_but_atime(path, before)
        assert daemon.status()["undo"]["files"] == 0
        assert beneath(daemon.watched) == [os.fsencode(path)]
        daemon.stop()


def test_an_original_comes_back_as_it_was_and_is_left_alone(daemon: Daemon) -> None:
    daemon.start()
    path, before = dropped(daemon)
    daemon.wait_done([path])
    assert not same_but_atime(path, before)
    assert daemon.status()["undo"] == {"files": 1, "bytes": len(before.content), "max_bytes": 10 << 30}
    assert "the original is kept until" in daemon.ctl("why", path).out
    answer = daemon.ctl("restore", path)
    assert (answer.status, answer.out.split()[0]) == (0, "restored")
    assert same_but_atime(path, before)
    assert daemon.status()["undo"]["files"] == 0
    assert beneath(daemon.watched) == [os.fsencode(path)]
    other, _ = dropped(daemon, "b.jpg", seed=2)  # what the watcher heard of the restore came before this
    daemon.wait_done([path, other])
    assert steps(daemon, path).count("done") == 1
    assert daemon.stop() == 0
    assert daemon.run("--once").status == 0
    assert same_but_atime(path, before)
    daemon.start()
    assert daemon.why(path)["reason"] == "restored"
    again = daemon.ctl("restore", path, "--json")
    assert (again.status, again.json()[0]["reason"]) == (1, "nothing-kept")


def test_all_of_the_last_hours_come_back_below_one_folder(daemon: Daemon) -> None:
    daemon.start()
    inside = [dropped(daemon, f"in/{number}.jpg", seed=number) for number in range(3)]
    outside, _ = dropped(daemon, "out.jpg", seed=9)
    daemon.wait_done([outside, *(path for path, _ in inside)])
    answer = daemon.ctl("restore", "--since", "2h", "--folder", daemon.watched / "in", "--json")
    assert answer.status == 0
    assert sorted(one["path"] for one in answer.json()) == [str(path) for path, _ in inside]
    assert all(same_but_atime(path, before) for path, before in inside)
    assert daemon.why(outside)["state"] == "done"


def test_another_file_is_left_or_kept_beside_the_original(daemon: Daemon) -> None:
    daemon.start()
    path, before = dropped(daemon)
    daemon.wait_done([path])
    drop(daemon.watched, {"sub/a.jpg": b"no image at all"})
    daemon.wait_done([path])
    refused = daemon.ctl("restore", path, "--json")
    assert (refused.status, refused.json()[0]["reason"]) == (1, "not-our-result")
    assert path.read_bytes() == b"no image at all"
    forced = daemon.ctl("restore", "--force", path)
    assert forced.status == 0
    assert same_but_atime(path, before)
    (beside,) = path.parent.glob("imgoptd-kept-*-a.jpg")
    assert beside.read_bytes() == b"no image at all" and beside.name in forced.out


def test_at_the_bound_files_are_held_and_old_originals_make_room(daemon: Daemon) -> None:
    daemon.write_config(more=KEEP + 'max_size = "1KiB"')
    daemon.start()
    path, before = dropped(daemon)
    answer = daemon.wait([path])
    assert (answer.status, answer.json()[0]["reason"]) == (1, "undo-full")
    assert same_but_atime(path, before)
    daemon.write_config(more=KEEP + 'max_size = "1GiB"')
    assert daemon.ctl("reload").status == 0
    daemon.wait_done([path])
    assert daemon.stop() == 0
    daemon.write_config(more=KEEP + 'keep = "1ms"')
    daemon.start()
    eventually(lambda: daemon.status()["undo"]["files"] == 0, what="the first sweep")
    assert beneath(daemon.watched) == [os.fsencode(path)]


def test_what_is_held_for_want_of_room_is_done_when_keep_is_shortened(daemon: Daemon) -> None:
    daemon.write_config(more=KEEP + 'max_size = "20KiB"')
    daemon.start()
    path, before = dropped(daemon)
    daemon.wait_done([path])
    assert 10 << 10 < len(before.content) < 20 << 10, "room for one, not for two"
    other, _ = dropped(daemon, "b.jpg", seed=2)
    answer = daemon.wait([other])
    assert (answer.status, answer.json()[0]["reason"]) == (1, "undo-full")
    daemon.write_config(more=KEEP + 'keep = "1ms"\nmax_size = "20KiB"')
    assert daemon.ctl("reload").status == 0
    eventually(lambda: daemon.why(other)["state"] == "done", what="the other one has room")


@pytest.mark.parametrize("point", ["replace.before_keep", "replace.after_keep"])
def test_a_daemon_killed_between_exchange_and_keeping_still_has_the_original(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with monkeypatch.context() as armed:
        armed.setenv("IMGOPTD_FAILPOINT", point)
        daemon.start()
    path, before = dropped(daemon)
    assert daemon.ended() == -signal.SIGKILL
    daemon.start()
    daemon.wait_done([path])
    assert daemon.why(path)["state"] == "done"
    assert daemon.status()["undo"]["files"] == 1
    assert daemon.ctl("restore", path).status == 0
    assert same_but_atime(path, before)
    assert beneath(daemon.watched) == [os.fsencode(path)]


@pytest.mark.parametrize("point", ["restore.before_exchange", "restore.after_exchange", "restore.after_unlink"])
def test_a_daemon_killed_within_a_restore_never_takes_the_original_for_a_new_file(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with monkeypatch.context() as armed:
        armed.setenv("IMGOPTD_FAILPOINT", point)
        daemon.start()
    path, before = dropped(daemon)
    daemon.wait_done([path])
    assert daemon.ctl("restore", path).status == 2
    assert daemon.ended() == -signal.SIGKILL
    daemon.start()
    daemon.wait_done([path])
    if point == "restore.before_exchange":
        assert (daemon.why(path)["state"], daemon.status()["undo"]["files"]) == ("done", 1)
        assert daemon.ctl("restore", path).status == 0
    assert same_but_atime(path, before)
    assert (daemon.why(path)["reason"], daemon.status()["undo"]["files"]) == ("restored", 0)
    assert steps(daemon, path).count("done") == 1
    assert beneath(daemon.watched) == [os.fsencode(path)]
