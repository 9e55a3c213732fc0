"""`imgoptctl retry` and `qshape` against a real daemon."""

from __future__ import annotations

from pathlib import Path

from tests import images
from tests.harness import Daemon, drop, eventually

CUT = images.jpegs()["everything.jpg"][:3000]


def tried(daemon: Daemon, path: Path, times: int) -> None:
    """Wait until a damaged file was tried so many times."""

    def steps() -> bool:
        return [step["step"] for step in daemon.why(path)["steps"]] == ["queued", "quarantined"] * times

    eventually(steps, what=f"it was tried {times} times")


def test_a_quarantined_file_is_tried_again_when_asked_for_by_name_or_with_all_that_failed() -> None:
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"cut.jpg": CUT})
        assert daemon.wait([path]).status == 1
        for count, words in ((2, str(path)), (3, "--failed")):
            answer = daemon.ctl("retry", words)
            assert (answer.status, answer.out.splitlines()[-1]) == (0, "1 file queued again")
            tried(daemon, path, count)


def test_a_file_that_stood_there_before_is_done_when_asked_for() -> None:
    with Daemon() as daemon:
        [path, other] = drop(daemon.watched, {"a.png": images.pngs()["rgb.png"], "b.png": images.pngs()["grey.png"]})
        daemon.start()
        eventually(lambda: daemon.status()["counts"]["skipped"] == 2, what="the first scan")
        assert daemon.ctl("retry", path).status == 0
        eventually(lambda: daemon.why(path)["state"] == "done", what="it is done")
        assert daemon.why(other)["reason"] == "existing"


def test_what_cannot_be_tried_again_is_told_with_its_reason() -> None:
    with Daemon() as daemon:
        daemon.start()
        missing = daemon.ctl("retry", daemon.watched / "none.jpg")
        assert missing.status == 2 and "imgoptd has not seen this file" in missing.err
        outside = daemon.ctl("retry", daemon.config)
        assert outside.status == 2 and "in no watched folder" in outside.err
        [excluded] = drop(daemon.watched, {"a.jpg.part": CUT})
        answer = daemon.ctl("retry", excluded)
        assert answer.status == 0
        assert "the folder's rules leave it alone" in answer.out and "0 files queued again" in answer.out
        (daemon.watched / "sub").mkdir()
        folder = daemon.ctl("retry", daemon.watched / "sub")
        assert "it is a folder; name the files in it" in folder.out and "0 files queued again" in folder.out
        assert daemon.ctl("retry").status == 2, "neither a path nor --failed"


def test_of_several_files_none_is_queued_where_one_is_not_there() -> None:
    with Daemon() as daemon:
        daemon.start()
        [path] = drop(daemon.watched, {"cut.jpg": CUT})
        assert daemon.wait([path]).status == 1
        assert daemon.ctl("retry", path, daemon.watched / "none.jpg").status == 2
        assert daemon.ctl("retry", path).status == 0
        tried(daemon, path, 2)


def test_qshape_tells_what_waits_in_which_folder() -> None:
    with Daemon() as daemon:
        daemon.start()
        assert daemon.ctl("qshape").out == "nothing waits\n"
        with (daemon.watched / "open.jpg").open("wb") as file:
            file.write(CUT)
            file.flush()
            eventually(lambda: daemon.status()["backlog"]["settling"] == 1, what="it is noticed")
            answer = daemon.ctl("qshape", "--json").json()
            [row] = answer["folders"]
            assert row["path"] == str(daemon.watched)
            assert row["states"] == {"settling": 1}
            assert row["ages"] == [1] + [0] * len(answer["ages_s"])
            table = daemon.ctl("qshape").out.splitlines()
            assert table[0].split()[0] == "TOTAL"
            assert table[1].split()[0] == "1" and table[1].endswith(str(daemon.watched))
