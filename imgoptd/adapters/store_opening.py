"""From a folder to a connection: a sound store is opened, an old one brought up to date, a damaged one rebuilt."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from imgoptd.adapters import failpoints, store_files, store_seal
from imgoptd.adapters.store_check import READ_ERRORS, Damaged, check_all, check_beginning, code_of, is_damage, read_only
from imgoptd.adapters.store_files import LogHold, StoreDamaged, StoreError
from imgoptd.adapters.store_salvage import salvage
from imgoptd.adapters.store_schema import VERSION, migrate
from imgoptd.adapters.store_seal import BrokenSeal, Keeper, Seal, SealState
from imgoptd.adapters.store_tables import teach

CHECKED_AT_ONCE_BYTES = 128 << 20
"""A larger store (some 170,000 files) is checked while it is in use: reading it all would delay the start."""

_LOG_LIMIT_BYTES = 64 << 20
_BUILDING = f"{store_files.NAME}.building"
_REBUILT = f"{store_files.NAME}.rebuilt"
"""A rebuilt store that is complete and durable; from then on the old one is of no account."""


@dataclass(frozen=True, slots=True)
class Opened:
    connection: sqlite3.Connection
    keeper: Keeper
    log_hold: LogHold | None
    """None where there is no log."""
    rebuilt_because: str
    """Not empty where a damaged store was set aside and rebuilt: a sentence to be said aloud."""
    checked: bool
    """False: the store is large, and only its beginning was checked."""


def open_or_begin(state_dir: Path, wall: Callable[[], float], checked_at_once_bytes: int) -> Opened:
    """The folder is made and locked. Raises StoreError."""
    try:
        because = _finish_rebuilding(state_dir, wall)
        try:
            seal = _read_seal(state_dir)
            checked = _check(state_dir, seal, checked_at_once_bytes)
        except Damaged as damage:
            because = rebuild(state_dir, str(damage), wall)
            seal, checked = _read_seal(state_dir), True
        connection, keeper, log_hold = _connect(state_dir, seal)
        return Opened(connection, keeper, log_hold, because, checked)
    except Damaged as damage:
        raise StoreDamaged(
            f"the store was damaged again as soon as it was rebuilt ({damage}); test the disk"
        ) from damage
    except READ_ERRORS as error:
        raise failed("opened", error) from error
    except OSError as error:
        raise StoreError(
            f"the damaged store in {state_dir} cannot be rebuilt: {error.strerror}; "
            "look at the rights and the space there"
        ) from error


def failed(what: str, error: Exception) -> StoreError:
    """What to raise for one of READ_ERRORS; `what` could not be done with the store."""
    if is_damage(error):
        return StoreDamaged(f"the store cannot be {what}: {error}; it is set aside and rebuilt when it is next opened")
    full = code_of(error) == sqlite3.SQLITE_FULL
    mend = "free some space on the filesystem of state_dir" if full else "look at the filesystem of state_dir"
    return StoreError(f"the store cannot be {what}: {error}; {mend}")


# ---- checking -------------------------------------------------------------------------------------------------------


def _read_seal(state_dir: Path) -> Seal | None:
    try:
        return store_seal.read(state_dir)
    except BrokenSeal:
        raise Damaged("its seal is damaged, so that nobody knows whether it is whole") from None


def _check(state_dir: Path, seal: Seal | None, at_once_bytes: int) -> bool:
    """Look at everything, or at the beginning of a large store (False). Changes nothing. Raises Damaged."""
    path = state_dir / store_files.NAME
    if trouble := store_seal.trouble(state_dir, seal):
        raise Damaged(trouble)
    if not _size(path):
        return True  # it is only begun
    # Only who may write can roll back what a crash has left in a rollback journal.
    connection = _connect_to(path) if os.path.lexists(f"{path}-journal") else read_only(path)
    try:
        check_beginning(connection, path, seal)
        if _size(path) + _size(Path(f"{path}-wal")) > at_once_bytes:
            return False
        check_all(connection)
        return True
    except READ_ERRORS as error:
        if not is_damage(error) and code_of(error) != sqlite3.SQLITE_ERROR:
            raise
        raise Damaged(str(error)) from error
    finally:
        connection.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# ---- opening --------------------------------------------------------------------------------------------------------


def _connect(state_dir: Path, seal: Seal | None) -> tuple[sqlite3.Connection, Keeper, LogHold | None]:
    # Before the store has this version: afterwards a version that was not announced is damage.
    keeper = Keeper(state_dir, replace(seal, version=VERSION) if seal else Seal(SealState.OPEN, VERSION))
    try:
        connection = _connect_to(state_dir / store_files.NAME)
    except BaseException:
        keeper.close()
        raise
    try:
        log = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal"
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
        migrate(connection)
        begin_seal(connection, keeper, log)
        log_hold = LogHold(state_dir / store_files.NAME) if log else None  # last: nothing after it can fail
    except BaseException:
        connection.close()
        keeper.close()
        raise
    return connection, keeper, log_hold


def _connect_to(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    teach(connection)
    return connection


def begin_seal(connection: sqlite3.Connection, keeper: Keeper, log: bool) -> None:
    """From here on the log is needed, unless nothing is committed."""
    commits = commits_of(connection)
    opened = commits if all_in_database(connection) else keeper.seal.opened
    keeper.put(Seal(SealState.OPEN, VERSION, log, opened, commits, keeper.seal.salts))


def commits_of(connection: sqlite3.Connection) -> int:
    """How many commits the database counts."""
    return int(connection.execute("SELECT value FROM meta WHERE key = 'commits'").fetchone()[0])


def all_in_database(connection: sqlite3.Connection) -> bool:
    """Move what the log holds into the database; False where not all could be moved (a full disk, say)."""
    try:
        busy, in_log, moved = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    except sqlite3.Error:
        return False
    return not busy and in_log == moved


# ---- rebuilding -----------------------------------------------------------------------------------------------------


def rebuild(state_dir: Path, damage: str, wall: Callable[[], float]) -> str:
    """Put a new store with all that is sound in the damaged one in its place; a sentence to be said aloud.

    Until the new one is complete and durable the damaged one stays where it is: a crash begins this anew, or finishes
    it. Raises StoreError, sqlite3.Error, OSError.
    """
    building = state_dir / _BUILDING
    _remove(building)
    new = _connect_to(building)
    failpoints.hit("store-building")
    try:
        new.execute("PRAGMA journal_mode = OFF")
        new.execute("PRAGMA synchronous = OFF")  # nobody looks at it before it is flushed
        migrate(new)
        saved = salvage(state_dir / store_files.NAME, new)
    except BaseException:
        new.close()
        _remove(building)
        raise
    new.close()
    _flush(building)
    os.rename(building, state_dir / _REBUILT)
    store_files.sync_folder(state_dir)
    failpoints.hit("store-rebuilt")
    return _put_in_place(state_dir, f"the store was damaged ({damage})", _tell(saved), wall)


def _tell(saved: Counter[str]) -> str:
    return (
        f"what is sound in it was taken over into a new one ({saved['file']} files, {saved['receipt']} receipts, "
        f"{saved['intent']} replaces under way)"
    )


def put_beside(connection: sqlite3.Connection, state_dir: Path) -> None:
    """Copy an open store whose files were removed to where the next opening takes it for a rebuilt one.

    Durable on return. Raises StoreError, sqlite3.Error, OSError.
    """
    store_files.make_folder(state_dir)
    building = state_dir / _BUILDING
    _remove(building)
    new = sqlite3.connect(building)
    try:
        connection.backup(new)
        new.execute("PRAGMA journal_mode = DELETE").fetchall()
    finally:
        new.close()
    _flush(building)
    os.rename(building, state_dir / _REBUILT)
    store_files.sync_folder(state_dir)


def _finish_rebuilding(state_dir: Path, wall: Callable[[], float]) -> str:
    """Of a rebuilding that was interrupted."""
    _remove(state_dir / _BUILDING)
    if not (state_dir / _REBUILT).exists():
        return ""
    return _put_in_place(state_dir, "the store was damaged", "what is sound of it was taken over into a new one", wall)


def _put_in_place(state_dir: Path, damaged: str, taken_over: str, wall: Callable[[], float]) -> str:
    Keeper(state_dir, Seal(SealState.CLOSED, VERSION)).close()
    aside = store_files.set_aside(state_dir, wall())
    failpoints.hit("store-set-aside")
    os.rename(state_dir / _REBUILT, state_dir / store_files.NAME)
    store_files.sync_folder(state_dir)
    return (
        f"{damaged}: it was set aside as {aside}, {taken_over}, and the folders are scanned again; "
        'with existing = "ignore", a file that the store no longer knows counts as one that stood there before'
    )


def _remove(path: Path) -> None:
    for companion in store_files.COMPANIONS:
        try:
            os.unlink(f"{path}{companion}")
        except FileNotFoundError:
            pass  # most have none


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
