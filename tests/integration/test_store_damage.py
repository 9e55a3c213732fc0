"""A store that lost something knows it and says it."""

import asyncio
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from imgoptd.adapters import store_seal
from imgoptd.adapters.store import Store, StoreDamaged
from imgoptd.adapters.store_schema import VERSION
from imgoptd.adapters.store_seal import SealState
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core.commands import BaselineTaken, SaveFile, SaveReceipt
from imgoptd.core.model import FileRef, JobState
from tests.integration.damaged import (
    LOG_HEADER_BYTES,
    ROOT,
    change,
    closed_store,
    fill,
    killed_store,
    opened_fresh_because,
    receipt,
    record,
)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    return closed_store(tmp_path)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    return killed_store(tmp_path)


def test_a_store_that_was_killed_is_no_damaged_one(killed: Path) -> None:
    assert opened_fresh_because(killed) == ""
    assert opened_fresh_because(killed) == ""


def test_a_store_that_was_killed_misses_its_log(killed: Path) -> None:
    (killed / "store.sqlite-wal").unlink()
    assert "its write-ahead log is missing or empty" in opened_fresh_because(killed)
    assert opened_fresh_because(killed) == ""


def test_an_emptied_log_is_missed_too(killed: Path) -> None:
    os.truncate(killed / "store.sqlite-wal", 0)
    assert "its write-ahead log is missing or empty" in opened_fresh_because(killed)


def test_the_log_of_another_store_is_known_for_it(killed: Path, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other")
    fill(other)
    shutil.copy(tmp_path / "other" / "store.sqlite-wal", killed)
    other.close()
    assert "its write-ahead log is another one" in opened_fresh_because(killed)


def test_a_seal_that_a_power_cut_left_some_logs_behind_is_no_damage(tmp_path: Path) -> None:
    living = Store.open(tmp_path / "living")
    living._connection.execute("PRAGMA wal_autocheckpoint = 30")
    fill(living)
    behind = (tmp_path / "living" / "store.seal").read_bytes()
    for _ in range(3):
        fill(living)
    shutil.copytree(tmp_path / "living", tmp_path / "killed")
    living.close()
    (tmp_path / "killed" / "store.seal").write_bytes(behind)  # it is not flushed with each commit, as the log is
    assert opened_fresh_because(tmp_path / "killed") == ""


def test_the_log_of_an_earlier_state_is_known_for_it(killed: Path, tmp_path: Path) -> None:
    living = Store.open(tmp_path / "living")
    living._connection.execute("PRAGMA wal_autocheckpoint = 30")
    fill(living)
    earlier = (tmp_path / "living" / "store.sqlite-wal").read_bytes()
    fill(living)
    shutil.copytree(tmp_path / "living", tmp_path / "later")
    living.close()
    (tmp_path / "later" / "store.sqlite-wal").write_bytes(earlier)
    assert "its write-ahead log is another one" in opened_fresh_because(tmp_path / "later")


def test_commits_that_fall_off_the_end_of_the_log_are_counted(tmp_path: Path) -> None:
    living = Store.open(tmp_path / "living")
    living.commit([SaveFile(record(1))])
    living.commit([SaveFile(record(2))])
    living.commit([SaveFile(record(3))])
    shutil.copytree(tmp_path / "living", tmp_path / "killed")
    living.close()
    os.truncate(tmp_path / "killed" / "store.sqlite-wal", LOG_HEADER_BYTES + 2000)
    assert "of 3 commits, the last 3 are missing" in opened_fresh_because(tmp_path / "killed")


def test_a_store_closed_well_needs_no_log(closed: Path) -> None:
    seal = store_seal.read(closed)
    assert seal is not None
    assert (seal.state, seal.version, seal.commits) == (SealState.CLOSED, VERSION, 31)
    assert opened_fresh_because(closed) == ""


@pytest.mark.parametrize("name", ["store.sqlite", "store.seal"])
def test_a_file_of_the_store_that_is_gone_is_missed(closed: Path, name: str) -> None:
    (closed / name).unlink()
    because = opened_fresh_because(closed)
    assert {"store.sqlite": "missing or empty", "store.seal": "seal is missing"}[name] in because


def test_an_older_copy_of_the_database_is_known_for_it(closed: Path, tmp_path: Path) -> None:
    shutil.copy(closed / "store.sqlite", tmp_path / "old")
    store = Store.open(closed)
    store.commit([SaveFile(record(1, JobState.DONE))])
    store.close()
    shutil.copy(tmp_path / "old", closed / "store.sqlite")
    assert "of 32 commits, the last 1 are missing" in opened_fresh_because(closed)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE file SET uid = uid + 1 WHERE id = 77",
        "UPDATE root SET path = x'2f'",
        "UPDATE root SET baseline = 0",
        "UPDATE intent SET temp_name = x'00'",
        "UPDATE output SET root = x'2f'",
        "UPDATE receipt SET bytes_after = 1 WHERE id = 3",
        "UPDATE step SET text = 'fund' WHERE file = 9",
        "UPDATE total SET value = 1 WHERE key = 'saved'",
        "UPDATE meta SET value = value + 1 WHERE key = 'commits'",
        "DELETE FROM file WHERE id = 7",
        "CREATE INDEX other ON file (uid)",
        f"PRAGMA user_version = {VERSION + 64}",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1",
    ],
)
def test_what_no_look_at_the_structure_shows_is_noticed(closed: Path, sql: str) -> None:
    change(closed, sql)
    assert opened_fresh_because(closed) != ""


def test_a_damaged_row_that_is_read_while_running_is_damage(closed: Path) -> None:
    store = Store.open(closed)
    try:
        store._connection.execute("UPDATE file SET uid = 9 WHERE id = 5")
        store._connection.execute("UPDATE root SET baseline = 0")
        store._connection.execute("UPDATE receipt SET profile = 'x'")
        store._connection.execute("UPDATE total SET value = 0")
        bad = record(4).ref
        for question in (
            lambda: store.file(bad),
            lambda: list(store.unfinished()),
            lambda: store.prove_known(ROOT, b"", 10),
            lambda: store.is_result(receipt(5).after_sha256),
            lambda: store.totals(),
        ):
            with pytest.raises(StoreDamaged, match="not what was written"):
                question()
        for change_of_it in (BaselineTaken(ROOT), SaveReceipt(replace(receipt(1), ref=FileRef(b"/srv/b", b"a")))):
            with pytest.raises(StoreDamaged, match="not what was written"):
                store.commit([change_of_it])
    finally:
        store.close()


def test_text_that_is_no_text_any_more_is_damage(closed: Path) -> None:
    store = Store.open(closed)
    try:
        store._connection.execute("UPDATE file SET detail = CAST(x'ff' AS TEXT) WHERE id = 5")
        with pytest.raises(StoreDamaged, match="set aside and rebuilt"):
            store.file(record(4).ref)
        with pytest.raises(StoreDamaged, match="set aside and rebuilt"):
            store.prove_known(ROOT, b"", 10)
    finally:
        store.close()
    assert opened_fresh_because(closed) != ""


def test_a_large_store_is_checked_beside_the_work_and_rebuilt_at_the_next_opening(closed: Path) -> None:
    change(closed, "UPDATE receipt SET profile = 'web' WHERE id = 50")

    async def use() -> None:
        executor = ThreadPoolExecutor(1)
        store = StoreThread(executor.submit(lambda: Store.open(closed, checked_at_once_bytes=0)).result(), executor)
        try:
            assert store.opened_fresh_because == ""
            with pytest.raises(StoreDamaged, match="a row of the table receipt"):
                await store.check()
            assert "receipt" in str(await store.damage)
        finally:
            await store.close()

    asyncio.run(use())
    # The small bound would not let it be noticed again.
    store = Store.open(closed, checked_at_once_bytes=0)
    try:
        assert "damage was found while it was in use" in store.opened_fresh_because
        assert "100 receipts" not in store.opened_fresh_because
        assert "99 receipts" in store.opened_fresh_because
    finally:
        store.close()


def test_a_sound_large_store_passes_its_check_and_may_be_closed_in_the_middle_of_it(closed: Path) -> None:
    async def use() -> None:
        executor = ThreadPoolExecutor(1)
        store = StoreThread(executor.submit(lambda: Store.open(closed, checked_at_once_bytes=0)).result(), executor)
        await store.check()
        checking = asyncio.create_task(store.check())
        await asyncio.sleep(0)
        await store.close()
        await checking
        assert not store.damage.done()

    asyncio.run(use())
    assert opened_fresh_because(closed) == ""
