"""A file's whole way, seen from outside: it is dropped, it comes out smaller, and nothing else about it changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, drop, eventually, found_images, unique

LEFT_ALONE = images.special_jpegs() | images.special_pngs() | images.others()


def dress(folder: Path) -> None:
    """Give files the attributes that a rewrite forgets most easily."""
    names = sorted(path.name for path in folder.iterdir())
    for number, name in enumerate(names):
        path = folder / name
        if not os.geteuid():
            os.chown(path, 1000 + number % 2, 100 + number % 3)
        path.chmod((0o644, 0o600, 0o2755, 0o664, 0o4750)[number % 5])
        os.setxattr(path, "user.rating", str(number).encode())
        if number % 4 == 0 and shutil.which("setfacl"):
            subprocess.run(["setfacl", "-m", "u:65534:r,g:65534:rw", path], check=True)
        stamp = 1_500_000_000_123_456_789 + number
        os.utime(path, ns=(stamp + 7_000_000_001, stamp))


def test_images_copied_in_end_done_or_skipped_smaller_and_otherwise_the_same(tmp_path: Path) -> None:
    drop(tmp_path, images.good() | LEFT_ALONE)
    for number, path in enumerate(found_images(16)):
        shutil.copy(path, tmp_path / f"found-{number}{path.suffix}")
    dress(tmp_path)
    before = snapshot(tmp_path)
    assert len(before) >= 40
    with Daemon() as daemon:
        daemon.start()
        subprocess.run(["cp", "-a", *tmp_path.iterdir(), daemon.watched], check=True)
        paths = [daemon.watched / os.fsdecode(name) for name in before]
        daemon.wait_done(paths, timeout_s=90)
        after = snapshot(daemon.watched)
        assert compare(before, after) == []
        shrunk = {os.fsdecode(name) for name in before if after[name].content != before[name].content}
        assert set(images.jpegs()) <= shrunk
        assert {name for name in images.pngs() if not name.startswith("16bit")} <= shrunk
        assert not shrunk & set(LEFT_ALONE)
        counts = daemon.status()["counts"]
        assert (counts["done"], counts["skipped"]) == (len(shrunk), len(before) - len(shrunk))


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reads_the_same_tags_before_and_after() -> None:
    names = ("everything.jpg", "thumbnail.jpg", "photoshop.jpg")
    chunks = ("text.png", "exif.png", "iccp.png", "colour-chunks.png")
    with Daemon() as daemon:
        staged = daemon.base / "staged"
        drop(staged, {name: images.good()[name] for name in (*names, *chunks)})
        before = snapshot(staged, tags=True)
        daemon.start()
        subprocess.run(["cp", "-a", *staged.iterdir(), daemon.watched], check=True)
        daemon.wait_done([daemon.watched / name for name in (*names, *chunks)])
        assert daemon.status()["counts"]["done"] == len(before)
        after = snapshot(daemon.watched, tags=True)
        assert compare(before, after) == []
        assert all(facts.content is not None and len(facts.content.tags) > 3 for facts in after.values())


def test_the_bytes_in_status_are_those_on_the_disk() -> None:
    made = {name: images.jpegs()[name] for name in ("baseline.jpg", "grey.jpg", "xmp.jpg")}
    with Daemon() as daemon:
        daemon.start()
        paths = drop(daemon.watched, made)
        daemon.wait_done(paths)
        told = daemon.status()["bytes"]
        before, after = sum(map(len, made.values())), sum(path.stat().st_size for path in paths)
        assert told == {"before": before, "after": after, "saved": before - after}


def test_what_a_rewrite_would_harm_is_left_alone_with_a_reason() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = drop(daemon.watched, LEFT_ALONE)
        daemon.wait_done(paths)
        told = {path.name: daemon.why(path) for path in paths}
        assert {name: life["state"] for name, life in told.items()} == dict.fromkeys(LEFT_ALONE, "skipped")
        assert all(life["reason"] and life["detail"] for life in told.values())
        assert {path.name: path.read_bytes() for path in paths} == LEFT_ALONE


def test_files_moved_in_renamed_and_in_new_folders_are_done() -> None:
    data = images.jpegs()["baseline.jpg"]
    with Daemon() as daemon:
        daemon.start()
        [staged] = drop(daemon.base / "staged", {"moved.jpg": unique(data, "a")})
        os.rename(staged, daemon.watched / "moved.jpg")
        [temp] = drop(daemon.watched, {"upload.part": unique(data, "b")})
        os.rename(temp, daemon.watched / "uploaded.jpg")
        drop(daemon.watched, {"a/b/c/deep.jpg": unique(data, "c")})
        drop(daemon.base / "album", {"x/one.jpg": unique(data, "d"), "two.jpg": unique(data, "e")})
        os.rename(daemon.base / "album", daemon.watched / "album")
        names = ("moved.jpg", "uploaded.jpg", "a/b/c/deep.jpg", "album/x/one.jpg", "album/two.jpg")
        daemon.wait_done([daemon.watched / name for name in names])
        for name in names:
            assert (daemon.watched / name).stat().st_size < len(data)


def test_a_file_written_slowly_is_read_only_once_it_is_whole() -> None:
    data = images.jpegs()["everything.jpg"]
    with Daemon(settle="100ms") as daemon:
        daemon.start()
        path = daemon.watched / "slow.jpg"
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            eventually(lambda: daemon.ctl("why", path, "--json").status == 0, what="the file is seen")
            # Ten quiet times later it is still held open, so nobody may take it for whole.
            for _ in range(4):
                assert daemon.wait([path], timeout_s=0.25).status == 124
            file.write(data[len(data) // 2 :])
        daemon.wait_done([path])
        assert [step["step"] for step in daemon.why(path)["steps"]].count("done") == 1
        assert path.stat().st_size < len(data)


def test_a_writer_that_closes_the_file_between_pieces_is_waited_for() -> None:
    whole = images.jpegs()["everything.jpg"]
    pieces = [whole[start : start + 2000] for start in range(0, len(whole), 2000)]
    assert len(pieces) > 3
    with Daemon(settle="1s") as daemon:
        daemon.start()
        path = daemon.watched / "pieces.jpg"
        for piece in pieces:
            with path.open("ab") as file:
                file.write(piece)
            time.sleep(0.2)
        daemon.wait_done([path])
        steps = [step["step"] for step in daemon.why(path)["steps"]]
        assert steps == ["queued", "probed", "done"], "nothing was tried before it was whole"


def test_a_whole_file_that_was_closed_does_not_wait_for_quiet() -> None:
    with Daemon(settle="1h") as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"a.png": images.pngs()["rgb.png"]})
        daemon.wait_done([path])


def test_a_newer_version_moved_over_a_finished_file_is_done_too() -> None:
    old, new = images.jpegs()["baseline.jpg"], images.jpegs()["xmp.jpg"]
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"a.jpg": old})
        daemon.wait_done([path])
        [staged] = drop(daemon.base / "staged", {"a.jpg": new})
        os.rename(staged, path)
        eventually(lambda: daemon.status()["counts"]["done"] == 2, what="the newer version is done")
        assert images.XMP in path.read_bytes()
        assert path.stat().st_size < len(new)


def test_our_own_result_is_not_worked_on_again_when_touched_or_copied() -> None:
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"a.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([path])
        result, told = path.read_bytes(), daemon.status()["bytes"]
        [copy] = drop(daemon.watched, {"copy.jpg": result})
        os.utime(path)
        daemon.wait_done([copy])
        eventually(lambda: len(daemon.why(path)["steps"]) >= 2, what="the touch is noticed")
        assert path.read_bytes() == copy.read_bytes() == result
        assert daemon.status()["bytes"] == told
