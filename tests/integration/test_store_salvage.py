"""Of a damaged store what is sound is kept, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from imgoptd.adapters.store import Store, StoreError
from imgoptd.adapters.store_schema import MIGRATIONS
from imgoptd.core.commands import BaselineTaken, SaveFile, SaveReceipt
from tests.integration.damaged import (
    FILES,
    LOG_HEADER_BYTES,
    OUTPUT,
    ROOT,
    change,
    closed_store,
    intent,
    killed_store,
    opened_fresh_because,
    receipt,
    record,
)

# ---- salvaging ------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    return closed_store(tmp_path)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    return killed_store(tmp_path)


def blot_leaf(folder: Path, table: str) -> None:
    """Overwrite a page in the middle of the table."""
    connection = sqlite3.connect(folder / "store.sqlite")
    pages = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    data = (folder / "store.sqlite").read_bytes()
    connection.close()
    root = data[(pages[0][0] - 1) * 4096 : pages[0][0] * 4096]
    assert root[0] == 5, "a table of more than one page"
    cells = int.from_bytes(root[3:5], "big")
    cell = int.from_bytes(root[12 + cells // 2 * 2 :][:2], "big")
    leaf = int.from_bytes(root[cell : cell + 4], "big")
    with (folder / "store.sqlite").open("r+b") as file:
        file.seek((leaf - 1) * 4096)
        file.write(b"\xa5" * 4096)


def test_what_lies_around_a_page_that_cannot_be_read_is_saved(closed: Path) -> None:
    blot_leaf(closed, "file")
    store = Store.open(closed)
    try:
        saved = list(store.unfinished())
        numbers = [one.identity.ino for one in saved]
        assert saved == [record(number) for number in numbers]
        gap = [number for number in range(FILES) if number not in numbers]
        assert 0 < len(gap) < 100
        assert gap == list(range(gap[0], gap[-1] + 1))
        assert f"({len(saved)} files, 100 receipts, 1 replaces under way)" in store.opened_fresh_because
        assert store.intents() == [intent(7)]
        assert store.output(record(0).ref, b"/srv/small") == OUTPUT
        assert len(store.history(record(0).ref)) == 1
        # Its content is a result of ours wherever it may lie, also where nobody knows any more where that was.
        assert all(store.is_result(receipt(number).after_sha256) for number in range(0, FILES, 5))
        assert store.totals()["done"] == 100
        lost = gap[0]
        store.commit([SaveFile(record(lost)), SaveReceipt(receipt(lost))])
        assert store.file(record(lost).ref) == record(lost)
    finally:
        store.close()
    assert opened_fresh_because(closed) == ""


def test_a_damaged_index_costs_no_row(closed: Path) -> None:
    change(closed, "UPDATE file SET state = 'done' WHERE id = 3")
    store = Store.open(closed)
    try:
        assert len(list(store.unfinished())) == FILES - 1
        assert store.file(record(2).ref) is None
        assert f"({FILES - 1} files" in store.opened_fresh_because
    finally:
        store.close()


def test_no_folder_of_a_rebuilt_store_counts_as_scanned_before(closed: Path) -> None:
    change(closed, "UPDATE total SET value = 0 WHERE key = 'saved'")
    store = Store.open(closed)
    try:
        assert not store.has_baseline(ROOT)
        store.commit([BaselineTaken(ROOT)])
        assert store.has_baseline(ROOT)
    finally:
        store.close()


REBUILD = """
import sys
from pathlib import Path
from imgoptd.adapters.store import Store

Store.open(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("place", ["store-building", "store-rebuilt", "store-set-aside"])
def test_a_rebuilding_that_is_killed_is_finished_at_the_next_start(killed: Path, place: str) -> None:
    os.truncate(killed / "store.sqlite-wal", LOG_HEADER_BYTES + 2000)
    ended = subprocess.run(
        [sys.executable, "-c", REBUILD, killed], env={**os.environ, "IMGOPTD_FAILPOINT": place}, check=False
    )
    assert ended.returncode == -9
    store = Store.open(killed)
    try:
        assert "the store was damaged" in store.opened_fresh_because
        assert len(list(store.unfinished())) > 0
    finally:
        store.close()
    assert opened_fresh_because(killed) == ""
    assert not list(killed.glob("store.sqlite.building*")) and not list(killed.glob("store.sqlite.rebuilt*"))
    assert len(list(killed.glob("store.sqlite.damaged-*Z"))) == 1


def test_a_rebuilding_that_finds_no_space_leaves_the_damaged_store_where_it_is(closed: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("to mount a small tmpfs needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    size = sum(path.stat().st_size for path in closed.iterdir())
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size + 80_000}", "tmpfs", str(folder)]
    mounted = subprocess.run(mounting, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")
    try:
        change(closed, "UPDATE file SET uid = 9 WHERE id = 5")
        shutil.copytree(closed, folder, dirs_exist_ok=True)
        damaged = (folder / "store.sqlite").read_bytes()
        with pytest.raises(StoreError, match=r"cannot be opened: .*full; free some space"):
            Store.open(folder)
        assert (folder / "store.sqlite").read_bytes() == damaged
        assert not list(folder.glob("store.sqlite.*"))
    finally:
        subprocess.run(["umount", folder], check=True)


# ---- stores of version 1 --------------------------------------------------------------------------------------------


def test_a_store_of_version_1_with_rows_gets_its_checksums(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    connection.executescript(f"BEGIN; {MIGRATIONS[0]}; PRAGMA user_version = 1; COMMIT")
    connection.executescript(
        """
        INSERT INTO root VALUES (1, CAST('/srv/a' AS BLOB), 1);
        INSERT INTO file (id, root, path, state, identity)
        VALUES (1, 1, CAST('000007.jpg' AS BLOB), 'queued', '1:7:10:0'), (2, 1, x'ff', NULL, NULL);
        INSERT INTO step VALUES (1, 1, 1000, 'queued', 'found');
        INSERT INTO intent VALUES (1, CAST('.imgoptd-1.tmp' AS BLOB), '1:7:10:0', '1:7:10:0', NULL, NULL);
        INSERT INTO receipt VALUES (1, 2, 1000, x'aa', x'bb', 10, 9, 'archive');
        INSERT INTO total VALUES ('done', 1);
        """
    )
    connection.close()
    for _ in range(2):
        store = Store.open(tmp_path)
        try:
            assert store.opened_fresh_because == ""
            assert list(store.unfinished()) == [record(7)]
            assert store.history(record(7).ref) == [(1.0, "queued", "found")]
            assert store.intents() == [replace(intent(7), result_sha256="")]
            assert store.is_result("bb")
            assert store.totals()["done"] == 1
            assert store.has_baseline(ROOT)
        finally:
            store.close()
