"""Stores with many rows, closed or killed, and what is done to them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from imgoptd.adapters.store import Store
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


def closed_store(folder: Path) -> Path:
    """A full store that was closed well."""
    store = Store.open(folder / "closed")
    fill(store)
    store.close()
    return folder / "closed"


def killed_store(folder: Path) -> Path:
    """As a kill leaves it: with the log."""
    living = Store.open(folder / "living")
    living._connection.execute("PRAGMA wal_autocheckpoint = 30")
    fill(living)
    shutil.copytree(folder / "living", folder / "killed")
    living.close()
    return folder / "killed"


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
