"""A running daemon and files that belong to others: each left alone with its reason, or done where told so."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests import images
from tests.harness import Daemon, drop, eventually

PHOTO = images.jpegs()["baseline.jpg"]
OTHER = images.jpegs()["grey.jpg"]


def told(daemon: Daemon, path: Path) -> tuple[str, str]:
    daemon.wait_done([path])
    answer = daemon.why(path)
    return answer["state"], answer["reason"]


def sums(*paths: Path) -> bytes:
    return b"".join(
        hashlib.sha256(path.read_bytes()).hexdigest().encode() + b"  " + path.name.encode() + b"\n" for path in paths
    )


def test_files_that_a_manifest_or_a_raw_file_claims_are_left_alone_and_the_others_done() -> None:
    with Daemon() as daemon:
        daemon.start()
        staged = daemon.base / "staged" / "set"
        listed, free = drop(staged, {"listed.jpg": PHOTO, "free.jpg": PHOTO})
        drop(staged, {"SHA256SUMS": sums(listed), "pair.CR2": b"raw", "pair.JPG": OTHER})
        os.rename(staged, daemon.watched / "set")
        root = daemon.watched / "set"
        assert told(daemon, root / "listed.jpg") == ("skipped", "in-checksum-manifest")
        assert "set/SHA256SUMS" in daemon.why(root / "listed.jpg")["detail"]
        assert told(daemon, root / "pair.JPG") == ("skipped", "raw-sidecar")
        assert told(daemon, root / free.name) == ("done", "optimized")
        assert (root / "listed.jpg").read_bytes() == PHOTO
        assert (root / "pair.JPG").read_bytes() == OTHER

        (root / "SHA256SUMS").unlink()
        (root / "listed.jpg").open("ab").close()
        eventually(lambda: told(daemon, root / "listed.jpg")[0] == "done", what="it is done once nothing names it")


def test_a_reload_that_lets_companions_and_hard_links_be_optimized_counts_for_what_stands_there() -> None:
    with Daemon() as daemon:
        daemon.start()
        staged = daemon.base / "staged" / "set"
        [listed] = drop(staged, {"listed.jpg": PHOTO})
        drop(staged, {"SHA256SUMS": sums(listed)})
        [first] = drop(daemon.base / "staged", {"linked.jpg": OTHER})
        os.rename(staged, daemon.watched / "set")
        listed, linked = daemon.watched / "set" / "listed.jpg", daemon.watched / "linked.jpg"
        os.link(first, linked)
        assert told(daemon, listed) == ("skipped", "in-checksum-manifest")
        assert told(daemon, linked) == ("skipped", "hard-linked")

        daemon.write_config(watch='companions = "optimize"\nhard_links = "part"')
        assert daemon.ctl("reload").status == 0
        eventually(lambda: [told(daemon, path)[0] for path in (listed, linked)] == ["done"] * 2, what="both are done")
        assert first.read_bytes() == OTHER, "the other name keeps the original"
        assert len(linked.read_bytes()) < len(OTHER)


def test_a_file_renamed_to_another_case_is_one_file_done_once() -> None:
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"a.jpg": PHOTO})
        assert told(daemon, path) == ("done", "optimized")
        done = path.read_bytes()
        os.rename(path, daemon.watched / "A.jpg")
        assert told(daemon, daemon.watched / "A.jpg") == ("done", "own-result")
        assert (daemon.watched / "A.jpg").read_bytes() == done

        staged = drop(daemon.base / "staged", {"b.jpg": OTHER})[0]
        os.rename(staged, daemon.watched / "b.jpg")
        os.rename(daemon.watched / "b.jpg", daemon.watched / "B.jpg")
        assert told(daemon, daemon.watched / "B.jpg")[0] == "done"
        assert sorted(os.listdir(daemon.watched)) == ["A.jpg", "B.jpg"]
