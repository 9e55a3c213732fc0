import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.store import Store, StoreError
from imgoptd.core.commands import AppendStep, SaveFile
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState

PAGE_BYTES = 4096


def record(number: int) -> FileRecord:
    identity = Identity(dev=1, ino=number, size=10, mtime_ns=0)
    return FileRecord(ref=FileRef(b"/srv/a", b"%06d.jpg" % number), identity=identity, state=JobState.QUEUED)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A folder with a well-closed store of 500 files."""
    store = Store.open(tmp_path)
    store.commit([SaveFile(record(number)) for number in range(500)])
    store.close()
    return tmp_path


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 100), (PAGE_BYTES, 2 * PAGE_BYTES), (5 * PAGE_BYTES, 8 * PAGE_BYTES)],
    ids=["header", "schema", "middle"],
)
def test_a_damaged_store_is_set_aside_whole_and_a_new_one_begun(filled: Path, offset: int, length: int) -> None:
    path = filled / "store.sqlite"
    overwrite(path, offset, b"\xa5" * length)
    damaged = path.read_bytes()
    store = Store.open(filled, wall=lambda: 1_700_000_000.0)
    try:
        aside = filled / "store.sqlite.damaged-20231114T221320Z"
        assert aside.read_bytes() == damaged
        assert re.fullmatch(
            rf"the store was damaged \(.+\): it was set aside as {re.escape(str(aside))}, what is sound in it was "
            r"taken over into a new one \(\d+ files, 0 receipts, 0 replaces under way\), and the folders are scanned "
            r"again; .*",
            store.opened_fresh_because,
            re.DOTALL,
        )
        assert set(store.unfinished()) <= {record(number) for number in range(500)}
        store.commit([SaveFile(record(1))])
        assert store.file(record(1).ref) == record(1)
    finally:
        store.close()
    again = Store.open(filled)
    assert again.opened_fresh_because == ""
    again.close()


def test_two_damaged_stores_of_one_second_are_both_kept(filled: Path) -> None:
    path = filled / "store.sqlite"
    for content in (b"first" * 100, b"second" * 100):
        path.write_bytes(content)
        Store.open(filled, wall=lambda: 1_700_000_000.0).close()
    aside = filled / "store.sqlite.damaged-20231114T221320Z"
    assert aside.read_bytes() == b"first" * 100
    assert aside.with_name(f"{aside.name}-2").read_bytes() == b"second" * 100


def test_a_damaged_store_that_cannot_be_renamed_is_an_error_with_its_cause(filled: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the append-only flag needs root")
    (filled / "store.sqlite").write_bytes(b"no database" * 100)
    if subprocess.run(["chattr", "+a", filled], capture_output=True, check=False).returncode != 0:
        pytest.skip("the filesystem has no append-only flag")
    try:
        with pytest.raises(StoreError, match="cannot be rebuilt: Operation not permitted; look at the rights"):
            Store.open(filled)
    finally:
        subprocess.run(["chattr", "-a", filled], check=True)


def test_damage_met_while_running_is_said_with_what_helps(filled: Path) -> None:
    store = Store.open(filled)
    try:
        overwrite(filled / "store.sqlite", PAGE_BYTES, b"\xa5" * 20 * PAGE_BYTES)
        store._connection.execute("PRAGMA shrink_memory")  # forget the sound pages that it holds in memory
        with pytest.raises(StoreError, match=r"cannot be read: .*; it is set aside and rebuilt when it is next opened"):
            list(store.unfinished())
        with pytest.raises(StoreError, match=r"cannot be (read|written): .*; it is set aside and rebuilt"):
            store.commit([SaveFile(record(1))])
    finally:
        store.close()


# ---- the folder -----------------------------------------------------------------------------------------------------


def test_a_second_instance_is_refused_with_the_process_that_holds_the_folder(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(
        StoreError, match=rf"another imgoptd uses {re.escape(str(tmp_path))} \(pid {os.getpid()}\); stop"
    ):
        Store.open(tmp_path)
    store.commit([SaveFile(record(1))])  # the first one is not disturbed
    store.close()
    Store.open(tmp_path).close()


def test_a_child_process_does_not_keep_the_folder(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        store.close()
        Store.open(tmp_path).close()
        child.communicate(b"\n")


def test_a_folder_that_cannot_be_made_is_an_error_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/state cannot be used: Not a directory; give a folder that the daemon"):
        Store.open(tmp_path / "file" / "state")
    with pytest.raises(StoreError, match=r"file cannot be used: File exists; give a folder"):
        Store.open(tmp_path / "file")


def test_a_lock_that_is_no_file_is_an_error_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StoreError, match="cannot be locked: Is a directory"):
        Store.open(tmp_path)


def test_a_foreign_lock_on_the_database_is_an_error_that_applies_nothing(filled: Path) -> None:
    store = Store.open(filled)
    store._connection.execute("PRAGMA busy_timeout = 10")
    intruder = sqlite3.connect(filled / "store.sqlite", isolation_level=None)
    try:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="cannot be written: database is locked; look at the filesystem"):
            store.commit([SaveFile(record(1000))])
        intruder.execute("ROLLBACK")
        assert store.file(record(1000).ref) is None
        store.commit([SaveFile(record(1000))])
    finally:
        intruder.close()
        store.close()


# ---- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("to mount a small tmpfs needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_fails_the_commit_whole_and_space_mends_it(tiny: Path) -> None:
    ballast = tiny / "ballast"
    store = Store.open(tiny)
    try:
        store.commit([SaveFile(record(0))])
        ballast.write_bytes(bytes(200_000))
        committed = 1
        with pytest.raises(StoreError, match="cannot be written: database or disk is full; free some space"):
            for number in range(1, 5000, 100):
                store.commit([SaveFile(record(one)) for one in range(number, number + 100)])
                committed += 100
        assert committed > 100
        assert [found.identity.ino for found in store.unfinished()] == list(range(committed))
        ballast.unlink()
        store.commit([SaveFile(record(committed)), AppendStep(record(0).ref, "queued", "again")])
        assert store.file(record(committed).ref) == record(committed)
    finally:
        store.close()
    reopened = Store.open(tiny)
    try:
        assert reopened.opened_fresh_because == ""
        assert [found.identity.ino for found in reopened.unfinished()] == list(range(committed + 1))
    finally:
        reopened.close()


def test_a_disk_that_is_full_at_the_start_is_said(tiny: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (tiny / "ballast").write_bytes(bytes(2_000_000))
    with pytest.raises(StoreError, match=r"cannot be (locked: No space left|opened: database or disk is full)"):
        Store.open(tiny)


def test_a_store_closed_on_a_full_disk_keeps_its_log_for_the_next_start(tiny: Path) -> None:
    store = Store.open(tiny)
    store.commit([SaveFile(record(number)) for number in range(600)])
    with pytest.raises(OSError, match="No space left"):
        (tiny / "ballast").write_bytes(bytes(2_000_000))
    store.close()
    assert (tiny / "store.sqlite-wal").stat().st_size > 0
    (tiny / "ballast").unlink()
    reopened = Store.open(tiny)
    try:
        assert reopened.opened_fresh_because == ""
        assert len(list(reopened.unfinished())) == 600
    finally:
        reopened.close()
