"""What was learned of what jobs take outlives a restart, and no damage to it does harm."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from imgoptd.adapters import store_check, store_opening, store_schema
from imgoptd.adapters.store import Store
from imgoptd.adapters.store_learned import codec_versions
from imgoptd.adapters.store_schema import MIGRATIONS
from imgoptd.core.commands import SaveFile, SaveLearned
from imgoptd.core.estimate import Lesson
from imgoptd.core.model import Domain, FileRecord, FileRef, Identity, JobState
from tests import images
from tests.harness import Daemon, drop

ODD = Domain(b"/srv/\xff\n", 1000)
FIRST = Lesson("jpeg progressive", ODD, (-1386, 0, 1386), (2079, -2079), (0, 405))
SECOND = Lesson("png small", Domain(b"/srv", -1), (5,), (), ())
FILE = FileRecord(FileRef(b"/srv", b"a.jpg"), Identity(1, 2, 3, 4), JobState.QUEUED)


def learned(state_dir: Path, codecs: str = "v1") -> list[Lesson]:
    store = Store.open(state_dir)
    try:
        assert store.opened_fresh_because == ""
        return store.learned(codecs)
    finally:
        store.close()


def saved(state_dir: Path, *lessons: Lesson, codecs: str = "v1") -> None:
    store = Store.open(state_dir)
    store.commit([SaveLearned(codecs, lessons), SaveFile(FILE)])
    store.close()


def test_lessons_come_back_as_they_were_and_in_their_order(tmp_path: Path) -> None:
    saved(tmp_path, SECOND, FIRST)
    assert learned(tmp_path) == [SECOND, FIRST]


def test_what_is_saved_takes_the_place_of_all_that_was(tmp_path: Path) -> None:
    saved(tmp_path, FIRST, SECOND)
    saved(tmp_path, FIRST)
    assert learned(tmp_path) == [FIRST]


def test_with_other_codecs_nothing_is_known(tmp_path: Path) -> None:
    saved(tmp_path, FIRST)
    assert learned(tmp_path, "v2") == []


@pytest.mark.parametrize(
    "damage",
    ["memory = x'0100'", "kind = x'ff'", "uid = 0", "codecs = x'7632'", "memory = x'01'", "crc = crc + 1"],
)
def test_a_damaged_lesson_is_left_out_and_the_store_is_not_taken_for_damaged(tmp_path: Path, damage: str) -> None:
    saved(tmp_path, FIRST, SECOND)
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    connection.execute(f"UPDATE learned SET {damage} WHERE rowid = 1")
    connection.commit()
    connection.close()
    assert learned(tmp_path) == [SECOND]
    store = Store.open(tmp_path)
    assert list(store.unfinished()) == [FILE]
    store.close()


def test_a_store_of_the_version_before_is_not_taken_for_damaged_and_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = next(number for number, script in enumerate(MIGRATIONS) if "TABLE learned" in script)
    with monkeypatch.context() as patch:
        for room in (store_schema, store_check, store_opening):
            patch.setattr(room, "VERSION", before)
        store = Store.open(tmp_path)
        store.commit([SaveFile(FILE)])
        store.close()
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    assert connection.execute("PRAGMA user_version").fetchone() == (before,)
    connection.close()
    assert learned(tmp_path) == []
    saved(tmp_path, FIRST)
    assert learned(tmp_path) == [FIRST]


def test_the_versions_name_each_codec() -> None:
    assert all(name in codec_versions() for name in ("imgoptd", "Pillow", "simplejpeg", "mozjpeg", "pyoxipng"))
    assert "unknown" not in codec_versions()


def test_a_daemon_goes_on_with_what_the_last_run_learned_and_tells_so() -> None:
    with Daemon() as daemon:
        daemon.start()
        [first] = drop(daemon.watched, {"first.jpg": images.jpegs()["baseline.jpg"]})
        daemon.wait_done([first])
        assert daemon.stop() == 0
        daemon.start()
        [second] = drop(daemon.watched, {"second.jpg": images.jpegs()["baseline.jpg"] + b""})
        daemon.wait_done([second])
        texts = [[step["text"] for step in daemon.why(path)["steps"]] for path in (first, second)]
        assert any("(by the table, nothing was learned yet)" in text for text in texts[0])
        assert any("(learned from 1 job)" in text for text in texts[1])
        assert all("; took " in told[-1] for told in texts)
