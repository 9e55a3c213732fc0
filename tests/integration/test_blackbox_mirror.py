"""A folder with an output tree, seen from outside: the mirror is whole, the originals are as they were."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, beneath, drop, eventually, mirroring, unique

JPEG = images.jpegs()["baseline.jpg"]
GIF = b"GIF89a" + bytes(100)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon() as made:
        made.write_config(watch=mirroring(made.base / "small"))
        yield made


def small(daemon: Daemon, name: str = "") -> Path:
    return daemon.base / "small" / name


def told(daemon: Daemon, path: Path) -> tuple[str, str]:
    life = daemon.why(path)
    return life["state"], life["reason"]


def steps(daemon: Daemon, path: Path) -> list[str]:
    return [step["step"] for step in daemon.why(path)["steps"]]


def touch(path: Path) -> None:
    """As touch(1) does, which opens the file: times that are set without that are heard by nobody."""
    subprocess.run(["touch", path], check=True)


def test_every_picture_of_a_tree_stands_in_the_mirror_and_no_original_was_touched(daemon: Daemon) -> None:
    pictures = {"top.jpg": JPEG, "a/b/deep.jpg": unique(JPEG, "b"), "a/rgb.png": images.pngs()["rgb.png"]}
    pictures |= {"left-alone.gif": GIF, "a/deep.png": images.pngs()["16bit-rgb.png"], "tiny.jpg": _unimprovable()}
    paths = drop(daemon.watched, {**pictures, "notes.txt": b"hello", "torn.jpg": JPEG[:500]})
    (daemon.watched / "a").chmod(0o750)
    (daemon.watched / "top.jpg").chmod(0o444)
    os.link(daemon.watched / "a/rgb.png", daemon.watched / "linked.png")
    before = snapshot(daemon.watched)
    inodes = {path: path.stat() for path in paths}
    daemon.write_config(watch=mirroring(small(daemon)), existing="optimize")
    daemon.start()
    assert daemon.wait(paths).status == 1  # the torn one is quarantined
    daemon.wait_done([daemon.watched / "linked.png"])
    assert {path: path.stat() for path in paths} == inodes
    assert snapshot(daemon.watched) == before
    mirror = snapshot(small(daemon))
    differences = compare(before, mirror, gone=[b"notes.txt", b"torn.jpg"], atime=False)
    assert [str(one) for one in differences if one.what != "links"] == []
    assert sorted(mirror) == sorted({*before} - {b"notes.txt", b"torn.jpg"})
    for name in ("left-alone.gif", "a/deep.png", "tiny.jpg"):
        assert small(daemon, name).read_bytes() == pictures[name]
        assert steps(daemon, daemon.watched / name)[-2:] == ["copied", "skipped"]
    assert small(daemon, "top.jpg").stat().st_size < len(JPEG)
    assert told(daemon, daemon.watched / "top.jpg") == ("done", "optimized")


def _unimprovable() -> bytes:
    """A JPEG that no pass makes smaller: a result of ours."""
    with Daemon() as daemon:
        [path] = drop(daemon.watched, {"a.jpg": unique(images.jpegs()["progressive.jpeg"], "tiny")})
        assert daemon.run("--once").status == 0
        return path.read_bytes()


def test_a_tree_is_made_as_soon_as_the_folder_is_there_that_it_is_to_be_like(daemon: Daemon) -> None:
    daemon.watched.rmdir()
    daemon.start()
    eventually(lambda: "output folder" in daemon.read_log(), what="the tree cannot be made")
    model = daemon.base / "model"
    model.mkdir(0o750)
    model.rename(daemon.watched)  # the tree is made like it at once, whatever its rights become later
    eventually(lambda: daemon.status()["folders"][0]["trouble"] == "", what="both are there")
    [path] = drop(daemon.watched, {"a.jpg": JPEG})
    daemon.wait_done([path])
    assert small(daemon, "a.jpg").stat().st_size < len(JPEG)
    assert small(daemon).stat().st_mode & 0o777 == 0o750


def test_a_changed_original_has_its_output_replaced_and_a_touched_one_is_left_at_that(daemon: Daemon) -> None:
    daemon.start()
    [path] = drop(daemon.watched, {"a.jpg": JPEG})
    daemon.wait_done([path])
    first = small(daemon, "a.jpg").stat()
    touch(path)
    daemon.wait_done([path])
    eventually(lambda: told(daemon, path) == ("skipped", "known"), what="the touch is noticed")
    assert small(daemon, "a.jpg").stat().st_ino == first.st_ino
    path.write_bytes(images.jpegs()["xmp.jpg"])
    eventually(lambda: images.XMP in small(daemon, "a.jpg").read_bytes(), what="the newer picture stands there")
    daemon.wait_done([path])
    assert daemon.status()["counts"]["done"] == 2
    assert os.listdir(small(daemon)) == ["a.jpg"]


def test_what_others_put_into_the_output_tree_stays_and_why_says_what_to_do(daemon: Daemon) -> None:
    daemon.start()
    drop(small(daemon), {"a.jpg": b"somebody's own"})
    [path] = drop(daemon.watched, {"a.jpg": JPEG})
    daemon.wait_done([path])
    assert told(daemon, path) == ("skipped", "output-taken")
    assert "move it away, then touch the original" in daemon.why(path)["detail"]
    assert small(daemon, "a.jpg").read_bytes() == b"somebody's own"
    small(daemon, "a.jpg").unlink()
    touch(path)
    eventually(lambda: told(daemon, path)[0] == "done", what="it is done once the name is free")
    assert small(daemon, "a.jpg").stat().st_size < len(JPEG)


def test_two_folders_with_one_output_tree_never_overwrite_each_others_results(daemon: Daemon) -> None:
    other = daemon.base / "other"
    more = f'[[watch]]\npath = "{other}"\nsettle = "100ms"\n{mirroring(small(daemon))}'
    other.mkdir()
    daemon.write_config(watch=mirroring(small(daemon)), more=more)
    daemon.start()
    [first] = drop(daemon.watched, {"a.jpg": JPEG})
    daemon.wait_done([first])
    result = small(daemon, "a.jpg").read_bytes()
    [second, third] = drop(other, {"a.jpg": unique(JPEG, "second"), "b.jpg": unique(JPEG, "third")})
    daemon.wait_done([second, third])
    assert told(daemon, second) == ("skipped", "output-taken")
    assert small(daemon, "a.jpg").read_bytes() == result
    assert small(daemon, "b.jpg").exists()


@pytest.mark.parametrize("by_link", [False, True], ids=["straight", "through a link"])
def test_an_output_tree_inside_the_watched_folder_is_never_input(daemon: Daemon, by_link: bool) -> None:
    inside = daemon.watched / "small"
    inside.mkdir()
    named = inside
    if by_link:
        named = daemon.base / "link"
        named.symlink_to(inside)
    daemon.write_config(watch=mirroring(named), existing="optimize")
    daemon.start()
    paths = drop(daemon.watched, {"a.jpg": JPEG, "x/b.gif": GIF})
    daemon.wait_done(paths)
    eventually(lambda: daemon.status()["backlog"]["settling"] == 0)
    assert "it lies in an output tree" in daemon.why(inside / "a.jpg")["detail"]
    assert daemon.stop() == 0
    daemon.start()
    daemon.wait_done(paths)
    assert beneath(inside) == [os.fsencode(inside / name) for name in ("a.jpg", "x/b.gif")]


def test_a_copy_of_a_finished_output_is_recognised_and_stands_in_the_mirror_too(daemon: Daemon) -> None:
    daemon.start()
    daemon.wait_done(drop(daemon.watched, {"a.jpg": JPEG}))
    shutil.copy(small(daemon, "a.jpg"), daemon.watched / "copy.jpg")
    daemon.wait_done([daemon.watched / "copy.jpg"])
    assert told(daemon, daemon.watched / "copy.jpg") == ("skipped", "own-result")
    assert small(daemon, "copy.jpg").read_bytes() == small(daemon, "a.jpg").read_bytes()


def test_once_mirrors_what_stands_there_and_the_second_time_does_nothing(daemon: Daemon) -> None:
    drop(daemon.watched, {"a.jpg": JPEG, "b/c.gif": GIF})
    assert daemon.run("--once").status == 0
    first = {path: os.stat(path) for path in beneath(small(daemon))}
    assert len(first) == 2
    assert "0 done, 0 skipped" in daemon.run("--once").err
    assert {path: os.stat(path) for path in beneath(small(daemon))} == first


def test_another_output_tree_is_filled_anew_and_the_old_one_stays(daemon: Daemon) -> None:
    daemon.start()
    paths = drop(daemon.watched, {"a.jpg": JPEG, "b.gif": GIF})
    daemon.wait_done(paths)
    second = daemon.base / "second"
    daemon.write_config(watch=mirroring(second))
    answer = daemon.ctl("reload")
    assert f"output {small(daemon)} -> {second}" in answer.out
    eventually(lambda: len(beneath(second)) == 2, what="the new tree has both")
    daemon.wait_done(paths)
    assert (second / "b.gif").read_bytes() == small(daemon, "b.gif").read_bytes() == GIF
    assert (second / "a.jpg").stat().st_size == small(daemon, "a.jpg").stat().st_size
    assert (daemon.watched / "a.jpg").read_bytes() == JPEG


def filled(tree: Path) -> bool:
    return len(beneath(tree)) == 2


def test_an_earlier_tree_in_the_watched_folder_is_not_mirrored_into_the_next(daemon: Daemon) -> None:
    daemon.write_config(watch=mirroring(daemon.watched / "one"))
    daemon.start()
    paths = drop(daemon.watched, {"a.jpg": JPEG, "b.gif": GIF})
    daemon.wait_done(paths)
    for tree in ("two", "one", "three"):
        daemon.write_config(watch=mirroring(daemon.watched / tree))
        assert daemon.ctl("reload").status == 0
        eventually(partial(filled, daemon.watched / tree), what=f"{tree} is filled")
        daemon.wait_done(paths)
    assert "output tree" in daemon.why(daemon.watched / "one/a.jpg")["detail"]
    assert len(beneath(daemon.watched)) == 2 + 3 * 2
