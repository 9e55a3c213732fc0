"""A daemon with an output tree that is killed, or whose output tree is lost, full, or another filesystem."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import images
from tests.checker import compare, snapshot
from tests.fault.small_disk import fill, mount, small_disk, unmount
from tests.harness import Daemon, beneath, drop, eventually, mirroring, unique

JPEG = images.jpegs()["baseline.jpg"]
GIF = b"GIF89a" + bytes(100)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon() as made:
        made.write_config(watch=mirroring(made.base / "small"))
        yield made


def trouble(daemon: Daemon) -> str:
    [folder] = daemon.status()["folders"]
    return str(folder["trouble"])


@pytest.mark.parametrize(
    ("point", "name"),
    [("mirror.after_mkdir", "a.jpg"), ("replace.after_prepare", "b.gif")]
    + [("mirror.after_link", name) for name in ("a.jpg", "b.gif")],
)
def test_killed_at_any_step_the_next_start_finishes(
    daemon: Daemon, point: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = drop(daemon.base / "staged", {name: JPEG if name == "a.jpg" else GIF})
    (daemon.watched / "x").mkdir()
    monkeypatch.setenv("IMGOPTD_FAILPOINT", point)
    daemon.start()
    os.rename(path, daemon.watched / "x" / name)
    assert daemon.ended() == -signal.SIGKILL
    monkeypatch.delenv("IMGOPTD_FAILPOINT")
    daemon.start()
    daemon.wait_done([daemon.watched / "x" / name])
    assert compare(snapshot(daemon.watched), snapshot(daemon.base / "small"), atime=False) == []
    assert daemon.why(daemon.watched / "x" / name)["reason"] != "output-taken"


def test_killed_while_an_earlier_output_is_replaced_the_next_start_finishes(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.start()
    [path] = drop(daemon.watched, {"a.jpg": JPEG})
    daemon.wait_done([path])
    assert daemon.stop() == 0
    path.write_bytes(unique(JPEG, "newer"))
    monkeypatch.setenv("IMGOPTD_FAILPOINT", "replace.after_exchange")
    daemon.spawn()
    assert daemon.ended() == -signal.SIGKILL
    monkeypatch.delenv("IMGOPTD_FAILPOINT")
    daemon.start()
    daemon.wait_done([path])
    assert b"newer" in (daemon.base / "small/a.jpg").read_bytes()
    assert beneath(daemon.base / "small") == [os.fsencode(daemon.base / "small/a.jpg")]


def test_jobs_wait_for_an_output_tree_that_is_lost_and_go_on_when_it_is_back(daemon: Daemon) -> None:
    daemon.start()
    daemon.wait_done(drop(daemon.watched, {"a.jpg": JPEG}))
    small, away = daemon.base / "small", daemon.base / "away"
    small.rename(away)
    eventually(lambda: "No such file" in trouble(daemon), what="the loss is said")
    paths = drop(daemon.watched, {"b.jpg": unique(JPEG, "b"), "c.gif": GIF})
    assert daemon.wait(paths).status == 1
    assert [daemon.why(path)["reason"] for path in paths] == ["folder-lost", "folder-lost"]
    assert not small.exists(), "a lost tree is not made anew"
    away.rename(small)
    eventually(lambda: len(beneath(small)) == 3, what="it is found again, and what waited is done")
    assert trouble(daemon) == ""


def test_an_output_tree_whose_disk_is_not_mounted_is_not_filled(daemon: Daemon) -> None:
    with small_disk(daemon.base / "small") as small:
        daemon.start()
        daemon.wait_done(drop(daemon.watched, {"a.jpg": JPEG}))
        assert beneath(small) == [os.fsencode(small / "a.jpg")]
        assert compare(snapshot(daemon.watched), snapshot(small), atime=False) == []
        unmount(small)
        eventually(lambda: "mount its disk" in trouble(daemon), what="the empty folder is not taken for it")
        [path] = drop(daemon.watched, {"b.jpg": unique(JPEG, "b")})
        assert daemon.wait([path]).status == 1
        assert os.listdir(small) == []
        mount(small)
        drop(small, {"of the operator": b""})
        eventually(lambda: (small / "b.jpg").exists(), what="another disk that is not empty is taken")


def test_a_full_output_disk_is_tried_where_results_go_and_originals_on_a_read_only_disk_are_fine(
    daemon: Daemon,
) -> None:
    photo = images.jpeg(images.photo(640, 480, seed=5))
    with small_disk(daemon.watched), small_disk(daemon.base / "small", "1m") as small:
        paths = drop(daemon.watched, {name: unique(photo, name) for name in ("a.jpg", "x/b.jpg")})
        subprocess.run(["mount", "-o", "remount,ro", daemon.watched], check=True)
        daemon.write_config(watch=mirroring(small), existing="optimize")
        fill(small / "ballast")
        daemon.start()
        assert daemon.wait(paths).status == 1
        life = daemon.why(paths[0])
        assert (life["state"], life["reason"], life["attempts"]) == ("deferred", "no-space", 0)
        assert beneath(small) == [os.fsencode(small / "ballast")]
        ill = [line for line in daemon.read_log().splitlines() if "IMGOPTD_EVENT=disk-ill" in line]
        assert len(ill) == 1 and f"{small}" in ill[0]
        (small / "ballast").unlink()
        eventually(lambda: daemon.status()["counts"]["done"] == 2, what="both are done when there is room")
        assert compare(snapshot(daemon.watched), snapshot(small), atime=False) == []


def test_an_output_folder_that_cannot_be_made_is_said_at_once(daemon: Daemon) -> None:
    daemon.write_config(watch=mirroring(daemon.base / "nowhere/small"))
    daemon.start()
    assert "No such file" in trouble(daemon)
    [path] = drop(daemon.watched, {"a.jpg": JPEG})
    assert daemon.wait([path]).status == 1
    (daemon.base / "nowhere").mkdir()
    Path(daemon.base / "nowhere/small").mkdir()
    eventually(lambda: len(beneath(daemon.base / "nowhere")) == 1, what="it is done once the folder is there")


def test_a_symbolic_link_put_in_the_place_of_a_tree_in_a_watched_folder_leads_nowhere(daemon: Daemon) -> None:
    small, elsewhere = daemon.watched / "small", daemon.base / "elsewhere"
    daemon.write_config(watch=mirroring(small))
    daemon.start()
    daemon.wait_done(drop(daemon.watched, {"a.jpg": JPEG}))
    drop(elsewhere, {"not ours": b""})
    small.rename(daemon.watched / "away")
    small.symlink_to(elsewhere)
    eventually(lambda: "is a symbolic link" in trouble(daemon), what="the link is said")
    [path] = drop(daemon.watched, {"b.jpg": unique(JPEG, "b")})
    assert daemon.wait([path]).status == 1
    assert os.listdir(elsewhere) == ["not ours"]
    assert "is a symbolic link" in daemon.run("--check").out


def test_no_tree_is_made_through_a_symbolic_link_in_a_watched_folder(daemon: Daemon) -> None:
    elsewhere = daemon.base / "elsewhere"
    elsewhere.mkdir()
    daemon.write_config(watch=mirroring(daemon.watched / "sub/small"))
    (daemon.watched / "sub").symlink_to(elsewhere)
    daemon.start()
    assert "sub is a symbolic link" in trouble(daemon)
    assert os.listdir(elsewhere) == []


@pytest.mark.parametrize("other", [True, False], ids=["another tree", "in place"])
def test_a_placing_cut_short_in_a_tree_that_is_gone_for_good_keeps_nothing_from_its_original(
    daemon: Daemon, other: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [staged] = drop(daemon.base / "staged", {"a.jpg": JPEG})
    monkeypatch.setenv("IMGOPTD_FAILPOINT", "mirror.after_link")
    daemon.start()
    path = daemon.watched / "a.jpg"
    staged.rename(path)
    assert daemon.ended() == -signal.SIGKILL
    monkeypatch.delenv("IMGOPTD_FAILPOINT")
    shutil.rmtree(daemon.base / "small")
    daemon.write_config(watch=mirroring(daemon.base / "other") if other else "")
    daemon.start()
    daemon.wait_done([path])
    assert (daemon.base / "other/a.jpg" if other else path).stat().st_size < len(JPEG)
    assert any("is out of reach" in step["text"] for step in daemon.why(path)["steps"])
