"""The store's rows of kept originals."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imgoptd.adapters import store_schema
from imgoptd.adapters.store import Store
from imgoptd.core.commands import DropKept, SaveFile, SaveIntent, SaveKept
from imgoptd.core.model import FileRecord, FileRef, Identity, Intent, JobState, Kept, KeptAt, Restoring

REF, ODD = FileRef(b"/srv/a", b"x/a.jpg"), FileRef(b"/srv/\xff", b"new\nline/\xfe.jpg")
ORIGINAL, RESULT = Identity(1, 2**63, 100, -(2**65)), Identity(1, 11, 60, 5)
SHA, OTHER_SHA = "ab" * 32, "cd" * 32


def kept(number: int, ref: FileRef = REF, place: bytes | None = b"", size: int = 100) -> Kept:
    at = KeptAt(place, b"%s-%d" % (SHA.encode(), number))
    return Kept(ref, at, ORIGINAL._replace(size=size), SHA, RESULT, OTHER_SHA)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state", clock)
    yield opened
    opened.close()


def test_a_row_is_read_as_it_was_saved(store: Store) -> None:
    rows = [kept(1), kept(2, ODD, b"sub/\xff"), kept(3, ODD, None)]
    store.commit([SaveKept(row) for row in rows])
    assert store.kept.of(REF) == [(1000.0, rows[0])]
    assert store.kept.of(ODD) == [(1000.0, rows[2]), (1000.0, rows[1])], "the newest first"
    assert store.kept.total() == (3, 300)


def test_saved_again_a_row_changes_and_keeps_its_time(store: Store, clock: Clock) -> None:
    store.commit([SaveKept(kept(1))])
    clock.now_s = 5000.0
    on_its_way = replace(kept(1), restoring=Restoring(b"", ORIGINAL))
    store.commit([SaveKept(on_its_way)])
    assert store.kept.of(REF) == [(1000.0, on_its_way)]
    assert store.kept.restoring() == [on_its_way]
    assert store.kept.before(9000.0, b"", 10) == [], "what is on its way back is never old"
    store.commit([SaveKept(kept(1))])
    assert store.kept.restoring() == []


def test_a_dropped_row_is_gone_and_dropping_it_again_does_no_harm(store: Store) -> None:
    store.commit([SaveKept(kept(1)), SaveKept(kept(2))])
    for _ in range(2):
        store.commit([DropKept(kept(1))])
        assert store.kept.of(REF) == [(1000.0, kept(2))]
        assert store.kept.total() == (1, 100)


def test_old_rows_come_in_pages(store: Store, clock: Clock) -> None:
    store.commit([SaveKept(kept(number)) for number in range(5)])
    clock.now_s = 2000.0
    store.commit([SaveKept(kept(9))])
    first = store.kept.before(1500.0, b"", 3)
    rest = store.kept.before(1500.0, first[-1][1].at.name, 3)
    assert [row for _, row in first + rest] == [kept(number) for number in range(5)]


def test_of_a_time_only_files_whose_newest_original_is_from_it_are_told(store: Store, clock: Clock) -> None:
    store.commit([SaveKept(kept(1)), SaveKept(kept(2, ODD))])
    clock.now_s = 2000.0
    store.commit([SaveKept(kept(3))])
    assert [row for _, row in store.kept.since(1500.0)] == [kept(3)]
    assert [row for _, row in store.kept.since(500.0)] == [kept(2, ODD), kept(3)]


@pytest.mark.parametrize("keep", [None, KeptAt(None, b"name"), KeptAt(b"", b"name"), KeptAt(b"sub", b"name")])
def test_an_intent_knows_where_the_original_goes(store: Store, keep: KeptAt | None) -> None:
    intent = Intent(REF, b".tmp", ORIGINAL, RESULT, OTHER_SHA, SHA, keep)
    store.commit([SaveIntent(intent)])
    assert store.intents() == [intent]


def test_a_store_from_before_originals_were_kept_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an intent in it: the original of that one is removed, as was promised then."""
    before = next(number for number, script in enumerate(store_schema.MIGRATIONS) if "TABLE kept" in script)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with sqlite3.connect(state / "store.sqlite", isolation_level=None) as old:
        for number in range(before):
            old.executescript(f"BEGIN;{store_schema.MIGRATIONS[number]};PRAGMA user_version = {number + 1};COMMIT;")
        old.execute("INSERT INTO root (path) VALUES (?)", (REF.root,))
        old.execute("INSERT INTO file (root, path) VALUES (1, ?)", (REF.path,))
        old.execute("INSERT INTO intent (file, temp_name, original) VALUES (1, ?, '1:2:3:4')", (b".tmp",))
    old.close()
    opened = Store.open(state)
    assert opened.opened_fresh_because == ""
    (intent,) = opened.intents()
    assert (intent.keep, intent.temp_name) == (None, b".tmp")
    opened.commit([SaveFile(FileRecord(REF, ORIGINAL, JobState.DONE)), SaveKept(kept(1))])
    assert opened.kept.total() == (1, 100)
    opened.close()


def test_a_file_of_which_an_original_is_kept_is_not_forgotten(store: Store) -> None:
    """Without a receipt: the result was replaced before the crash after which the original was found."""
    store.commit([SaveFile(FileRecord(REF, ORIGINAL, JobState.SKIPPED)), SaveKept(kept(1))])
    assert store.forget([REF]) == 0
    store.commit([DropKept(kept(1))])
    assert store.forget([REF]) == 1
