"""A store that lost something knows it, says it, and keeps what is sound."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from imgoptd.adapters import store_seal
from imgoptd.adapters.store import Store, StoreDamaged, StoreError
from imgoptd.adapters.store_schema import MIGRATIONS, VERSION
from imgoptd.adapters.store_seal import SealState
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core.commands import AppendStep, BaselineTaken, SaveFile, SaveIntent, SaveOutput, SaveReceipt
from imgoptd.core.model import FileRecord, FileRef, Identity, Intent, JobState, Output, Receipt

ROOT = b"/srv/a"
FILES = 500
LOG_HEADER_BYTES = 32


def record(number: int, state: JobState = JobState.QUEUED) -> FileRecord:
    identity = Identity(dev=1, ino=number, size=10, mtime_ns=0)
    return FileRecord(ref=FileRef(ROOT, b"%06d.jpg" % number), identity=identity, state=state)


def receipt(number: int) -> Receipt:
    return Receipt(record(number).ref, f"{number:064x}", f"{number + 1_000_000:064x}", 10, 9, "archive")


def intent(number: int) -> Intent:
    one = record(number)
    return Intent(one.ref, b".imgoptd-1.tmp", one.identity, one.identity, "ab" * 32)


OUTPUT = Output(record(0).ref, b"/srv/small", record(0).identity, "ab" * 32, "cd" * 32)


def fill(store: Store) -> None:
    for start in range(0, FILES, 50):
        numbers = range(start, start + 50)
        store.commit([SaveFile(record(number)) for number in numbers])
        store.commit([AppendStep(record(number).ref, "queued", "found") for number in numbers])
        store.commit([SaveReceipt(receipt(number)) for number in numbers if number % 5 == 0])
    store.commit([SaveIntent(intent(7)), SaveOutput(OUTPUT), BaselineTaken(ROOT)])


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    store = Store.open(tmp_path / "closed")
    fill(store)
    store.close()
    return tmp_path / "closed"


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """As a kill leaves it: with the log."""
    living = Store.open(tmp_path / "living")
    living._connection.execute("PRAGMA wal_autocheckpoint = 30")
    fill(living)
    shutil.copytree(tmp_path / "living", tmp_path / "killed")
    living.close()
    return tmp_path / "killed"


def opened_fresh_because(folder: Path) -> str:
    store = Store.open(folder)
    try:
        return store.opened_fresh_because
    finally:
        store.close()


def change(path: Path, sql: str) -> None:
    """Change a row behind the back of the checksums."""
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    try:
        connection.execute(sql)
    finally:
        connection.close()


# ---- noticing -------------------------------------------------------------------------------------------------------


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


# ---- salvaging ------------------------------------------------------------------------------------------------------


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
