"""What lies in real folders besides good images: each gets a state and a reason, none stops another, none changes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests import images
from tests.checker import compare, snapshot
from tests.harness import Daemon, beneath, drop, eventually

GOOD = {name: images.jpegs()[name] for name in ("baseline.jpg", "grey.jpg", "progressive.jpeg")}
REASONS = {
    "empty.jpg": "empty",
    "truncated.jpg": "truncated",
    "truncated.png": "truncated",
    "text-named.jpg": "not-an-image",
    "page.png": "not-an-image",
}
FINISHED = {"done", "skipped", "quarantined", "held", "deferred"}


def finished(daemon: Daemon, path: Path | bytes) -> dict[str, object]:
    """The recorded state of the path, once it has one."""

    def look() -> dict[str, object] | None:
        answer = daemon.ctl("why", path, "--json")
        told: dict[str, object] = answer.json() if answer.status == 0 else {}
        return told if told.get("state") in FINISHED else None

    told = eventually(look, 30, f"a state of {path!r}")
    assert told is not None
    return told


def test_damaged_files_and_non_images_are_recorded_and_left_alone_while_others_are_done() -> None:
    damaged = images.damaged()
    with Daemon() as daemon:
        daemon.start()
        bad = drop(daemon.watched, damaged)
        before = snapshot(daemon.watched)
        good = drop(daemon.watched, GOOD)
        daemon.wait_done(good)
        for path in bad:
            told = finished(daemon, path)
            assert told["state"] in ("skipped", "quarantined"), told
            assert told["reason"] and told["detail"], told
            assert told["reason"] == REASONS.get(path.name, told["reason"])
        after = snapshot(daemon.watched)
        assert compare(before, {name: facts for name, facts in after.items() if name in before}) == []
        assert len(after) == len(damaged) + len(GOOD)


def test_a_wrong_extension_hides_no_image() -> None:
    with Daemon() as daemon:
        daemon.start()
        paths = drop(
            daemon.watched,
            {"jpeg.png": GOOD["grey.jpg"], "png.jpg": images.pngs()["rgb.png"], "none": GOOD["baseline.jpg"]},
        )
        before = snapshot(daemon.watched)
        daemon.wait_done(paths)
        assert {daemon.why(path)["state"] for path in paths} == {"done"}
        assert compare(before, snapshot(daemon.watched)) == []


def test_names_that_are_no_text_or_hold_a_newline_are_done_like_any_other() -> None:
    with Daemon() as daemon:
        daemon.start()
        folder = os.fsencode(daemon.watched)
        names = [
            b"caf\xe9.jpg",
            b"two\nlines.jpg",
            b"\x1b[31m.jpg",
            b"-rf",
            b" space .jpg",
            b"%2e%2e.jpg",
            b"\xff" * 200,
        ]
        for number, name in enumerate(names):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(images.jpeg(images.photo(200, 150, seed=100 + number)))
        before = snapshot(daemon.watched)
        paths = [os.path.join(folder, name) for name in names]
        daemon.wait_done(paths)
        for path in paths:
            assert finished(daemon, path)["state"] == "done"
        assert compare(before, snapshot(daemon.watched)) == []
        log = daemon.log.read_bytes()
        assert b"\x1b" not in log
        assert b"\nlines.jpg" not in log


def test_a_fifo_a_socket_and_symlinks_are_recorded_and_never_followed() -> None:
    with Daemon() as daemon:
        [outside] = drop(daemon.base / "outside", {"target.jpg": GOOD["baseline.jpg"]})
        daemon.start()
        [inside] = drop(daemon.watched, {"inside.jpg": GOOD["grey.jpg"]})
        odd = {name: daemon.watched / name for name in ("fifo.jpg", "socket.jpg", "in.jpg", "out.jpg", "broken.jpg")}
        os.mkfifo(odd["fifo.jpg"])
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(odd["socket.jpg"]))
        odd["in.jpg"].symlink_to("inside.jpg")
        odd["out.jpg"].symlink_to(outside)
        odd["broken.jpg"].symlink_to("nowhere.jpg")
        (daemon.watched / "folder").symlink_to(outside.parent)
        before = snapshot(daemon.watched)
        outside_before = snapshot(outside.parent)
        daemon.wait_done([inside])
        for path in odd.values():
            told = finished(daemon, path)
            assert told["state"] == "skipped", told
            assert told["reason"] and told["detail"], told
        assert compare(before, snapshot(daemon.watched)) == []
        assert snapshot(outside.parent) == outside_before
        assert daemon.status()["counts"]["done"] == 1


def test_a_file_that_vanishes_while_it_settles_is_recorded_so() -> None:
    with Daemon(settle="2s") as daemon:
        daemon.start()
        # Held open for writing, so it must still be settling when it goes.
        path = daemon.watched / "gone.jpg"
        with path.open("wb") as file:
            file.write(GOOD["baseline.jpg"])
            file.flush()
            eventually(lambda: daemon.ctl("why", path, "--json").status == 0, what="the file is seen")
            path.unlink()
        told = finished(daemon, path)
        assert told["state"] == "skipped"
        assert "vanish" in f"{told['reason']} {told['detail']}"
        good = drop(daemon.watched, GOOD)
        daemon.wait_done(good)


def test_a_read_only_file_is_skipped_as_protected() -> None:
    with Daemon() as daemon:
        daemon.start()
        [staged] = drop(daemon.base / "staged", {"locked.jpg": GOOD["baseline.jpg"]})
        staged.chmod(0o444)
        path = daemon.watched / "locked.jpg"
        os.rename(staged, path)
        told = finished(daemon, path)
        assert (told["state"], told["reason"]) == ("skipped", "protected")
        assert path.read_bytes() == GOOD["baseline.jpg"]


def test_an_unreadable_file_is_recorded_and_stops_no_other() -> None:
    if os.geteuid():
        pytest.skip("needs root, to make files that the daemon's user cannot read")
    with Daemon() as daemon:
        daemon.run_as(65534)
        daemon.start()
        [staged] = drop(daemon.base / "staged", {"secret.jpg": GOOD["baseline.jpg"]})
        staged.chmod(0o600)
        secret = daemon.watched / "secret.jpg"
        os.rename(staged, secret)
        [staged] = drop(daemon.base / "staged", {"mine.jpg": GOOD["grey.jpg"]})
        os.chown(staged, 65534, 65534)
        mine = daemon.watched / "mine.jpg"
        os.rename(staged, mine)
        before = snapshot(daemon.watched)
        daemon.wait_done([mine])
        told = finished(daemon, secret)
        assert told["reason"] == "unreadable", told
        assert told["detail"]
        assert compare(before, snapshot(daemon.watched)) == []


def test_a_foreign_file_whose_owner_could_not_be_kept_is_left_alone() -> None:
    if os.geteuid():
        pytest.skip("needs root, to make files of another owner")
    with Daemon() as daemon:
        daemon.run_as(65534)
        daemon.start()
        [staged] = drop(daemon.base / "staged", {"foreign.jpg": GOOD["baseline.jpg"]})
        os.chown(staged, 12345, 12345)
        staged.chmod(0o666)
        path = daemon.watched / "foreign.jpg"
        os.rename(staged, path)
        before = snapshot(daemon.watched)
        told = finished(daemon, path)
        assert told["state"] != "done" and told["reason"], told
        assert compare(before, snapshot(daemon.watched)) == []
        assert beneath(daemon.watched) == [os.fsencode(path)]


def test_files_with_a_second_name_keep_both_names_on_one_content() -> None:
    with Daemon() as daemon:
        [first] = drop(daemon.base / "staged", {"a.jpg": GOOD["baseline.jpg"]})
        daemon.start()
        os.link(first, daemon.watched / "a.jpg")
        told = finished(daemon, daemon.watched / "a.jpg")
        assert told["reason"], told
        assert (daemon.watched / "a.jpg").samefile(first)
        assert first.read_bytes() == GOOD["baseline.jpg"]
