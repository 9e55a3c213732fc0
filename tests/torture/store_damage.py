"""Damage to the files of the store, one at a time: each is said, or changes nothing of what the store knows.

A damage that was said is also salvaged, and what was saved must be what the store held at some time. Between the
damages processes that use a store are killed, which must never look like damage.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgoptd.adapters.store import Store
from imgoptd.core.commands import AppendStep, BaselineTaken, DropIntent, Record, SaveFile, SaveIntent, SaveReceipt
from imgoptd.core.model import FileRecord, FileRef, Identity, ImageFacts, Intent, JobState, Receipt

ROOTS = (b"/srv/photos", b"/srv/\xff")
DATABASE, LOG, SEAL = "store.sqlite", "store.sqlite-wal", "store.seal"
ROUNDS_A_STORE, KILLS_A_STORE = 40, 10
STATES = [state for state in JobState if state is not JobState.SETTLING]


@dataclass
class Original:
    """A store as a crash or a good end has left it, and what it knows."""

    folder: Path
    closed: bool
    refs: list[FileRef]
    knows: dict[str, Any] = field(default_factory=dict)
    ever: dict[FileRef, set[FileRecord]] = field(default_factory=dict)
    """Every row that was ever committed, by file."""


def run(seconds: float, seed: int, most: int | None = None) -> tuple[int, list[str]]:
    """Damage stores for that long, or for `most` rounds; the rounds made, and what went wrong, a sentence each."""
    dice = random.Random(seed)
    rounds, failures = 0, []
    end_s = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="imgoptd-damage-", dir=memory()) as base:
        while time.monotonic() < end_s and (most is None or rounds < most):
            for _ in range(KILLS_A_STORE):
                failure = kill_once(Path(base) / "killed", dice)
                rounds += 1
                if failure:
                    failures.append(f"seed {seed}, round {rounds}: {failure}")
            original = make_original(Path(base) / "original", dice)
            for _ in range(ROUNDS_A_STORE):
                failure = damage_once(original, Path(base) / "damaged", dice)
                rounds += 1
                if failure:
                    failures.append(f"seed {seed}, round {rounds}: {failure}")
                if time.monotonic() >= end_s or rounds == most:
                    break
            shutil.rmtree(original.folder)
    return rounds, failures


def memory() -> str | None:
    """A folder in memory, where a thousand stores can be made in a minute; None where there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# ---- a store --------------------------------------------------------------------------------------------------------


def make_original(folder: Path, dice: random.Random) -> Original:
    """A store with some hundred files, closed well or left as a kill leaves it, its log moved or not or in part."""
    refs = [FileRef(dice.choice(ROOTS), b"%02d/%d\xfe.jpg" % (dice.randrange(20), number)) for number in range(150)]
    living = folder.with_name("living")
    store = Store.open(living)
    original = Original(folder, dice.random() < 0.4, refs, ever={ref: set() for ref in refs})
    try:
        store._connection.execute(f"PRAGMA wal_autocheckpoint = {dice.choice((1, 20, 1000))}")
        for _ in range(dice.randint(5, 40)):
            batch = [record for ref in dice.sample(refs, dice.randint(1, 12)) for record in _life(ref, dice)]
            store.commit(batch)
            for record in batch:
                if isinstance(record, SaveFile):
                    original.ever[record.record.ref].add(record.record)
            if dice.random() < 0.1:
                store._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if original.closed:
            store.close()
        shutil.copytree(living, folder)
    finally:
        store.close()
        shutil.rmtree(living)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    whole = Store.open(copy)
    try:
        assert whole.opened_fresh_because == "", whole.opened_fresh_because
        original.knows = all_it_knows(whole, refs)
    finally:
        whole.close()
        shutil.rmtree(copy)
    return original


def _life(ref: FileRef, dice: random.Random) -> list[Record]:
    identity = Identity(2049, dice.getrandbits(40), dice.getrandbits(24), dice.getrandbits(62))
    sha, other = dice.randbytes(32).hex(), dice.randbytes(32).hex()
    facts = ImageFacts("jpeg", dice.randrange(9000), 3000)
    file = FileRecord(ref, identity, dice.choice(STATES), "reason", "a sentence", 1000, True, 1, sha, facts, 9, 8)
    records: list[Record] = [SaveFile(file), AppendStep(ref, "queued", "found"), AppendStep(ref, "done", "smaller")]
    if dice.random() < 0.3:
        records.append(SaveIntent(Intent(ref, b".imgoptd-1.tmp", identity, identity, sha, other)))
    if dice.random() < 0.3:
        records += [SaveReceipt(Receipt(ref, other, sha, 1000, 800, "archive")), DropIntent(ref)]
    if dice.random() < 0.02:
        records.append(BaselineTaken(ref.root))
    return records


def all_it_knows(store: Store, refs: list[FileRef]) -> dict[str, Any]:
    """By every question that there is, so that a damaged index shows, too."""
    receipts = {ref: store.receipts(ref) for ref in refs}
    return {
        "files": {ref: store.file(ref) for ref in refs},
        "history": {ref: store.history(ref) for ref in refs},
        "receipts": receipts,
        "results": [store.is_result(receipt.after_sha256) for of_file in receipts.values() for receipt in of_file],
        "unfinished": list(store.unfinished()),
        "known": [store.known(root, b"", 1000) for root in ROOTS],
        "intents": store.intents(),
        "totals": store.totals(),
        "baselines": [store.has_baseline(root) for root in ROOTS],
    }


# ---- a kill ---------------------------------------------------------------------------------------------------------

ALARMED = 3


def kill_once(folder: Path, dice: random.Random) -> str:
    """Let a process open the store, commit and close it, and kill it at some moment; what went wrong, or nothing."""
    seed, moment_s = dice.random(), dice.choice((0.0005, 0.005, 0.05)) * dice.random() + 1e-6
    child = os.fork()
    if child == 0:
        try:
            # Nobody handles it: it ends the process on the spot, as SIGKILL does.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, moment_s)
            os._exit(_live_shortly(folder, random.Random(seed)))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == ALARMED:
        return "a kill was taken for damage"
    return "" if code in (0, -signal.SIGALRM) else f"a life in between ended with {code}"


def _live_shortly(folder: Path, dice: random.Random) -> int:
    store = Store.open(folder)
    if store.opened_fresh_because:
        os.write(2, store.opened_fresh_because.encode())
        return ALARMED
    store._connection.execute(f"PRAGMA wal_autocheckpoint = {dice.choice((1, 3, 1000))}")
    for _ in range(dice.choice((0, 1, 5, 50))):
        refs = [FileRef(dice.choice(ROOTS), b"%d.jpg" % dice.randrange(500)) for _ in range(dice.randint(1, 20))]
        store.commit([record for ref in refs for record in _life(ref, dice)])
    store.close()
    return 0


# ---- a damage -------------------------------------------------------------------------------------------------------


def damage_once(original: Original, folder: Path, dice: random.Random) -> str:
    """What went wrong, or nothing."""
    shutil.copytree(original.folder, folder)
    try:
        what = _damage(folder, original, dice)
        try:
            store = Store.open(folder)
        except Exception as error:
            return f"{what}: it could not be opened: {type(error).__name__}: {error}"
        try:
            if store.opened_fresh_because:
                wrong = _wrongly_saved(original, store)
            else:
                wrong = _changed(original, all_it_knows(store, original.refs))
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        finally:
            store.close()
        return f"{what}: {wrong}; {store.opened_fresh_because or 'nothing was said'}" if wrong else ""
    finally:
        shutil.rmtree(folder)


def _changed(original: Original, knows: dict[str, Any]) -> str:
    return ", ".join(f"other {name}" for name, value in original.knows.items() if knows[name] != value)


def _wrongly_saved(original: Original, store: Store) -> str:
    for ref in original.refs:
        saved = store.file(ref)
        if saved is not None and saved not in original.ever[ref]:
            return f"saved a row that never was: {saved}"
    if any(store.has_baseline(root) for root in ROOTS):
        return "a folder still counts as scanned"
    return ""


def _damage(folder: Path, original: Original, dice: random.Random) -> str:
    files = [DATABASE, SEAL] if original.closed else [DATABASE, LOG, LOG, SEAL]
    name = dice.choices(files, [8, 1] if original.closed else [6, 4, 4, 1])[0]
    kinds: dict[str, Callable[[Path, random.Random], str]] = {"flip": _flip, "truncate": _truncate, "blot": _blot}
    kind = dice.choices([*kinds, "remove"], (7, 2, 2, 1))[0]
    if kind == "remove":
        (folder / name).unlink()
        return f"{name} removed"
    return f"{name}, closed {original.closed}: {kinds[kind](folder / name, dice)}"


def _flip(path: Path, dice: random.Random) -> str:
    data = bytearray(path.read_bytes())
    if not data:
        return "empty"
    # Each other time where everything hangs on a few bytes.
    place, bit = dice.randrange(min(len(data), dice.choice((32, 200, 4200, len(data), len(data))))), dice.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place} of {len(data)} flipped"


def _truncate(path: Path, dice: random.Random) -> str:
    size = path.stat().st_size
    left = dice.randrange(size) if size else 0
    with path.open("r+b") as file:
        file.truncate(left)
    return f"cut from {size} to {left} bytes"


def _blot(path: Path, dice: random.Random) -> str:
    size = path.stat().st_size
    start, length = dice.randrange(max(1, size)) // 512 * 512, dice.choice((512, 4096, 20_000))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(dice.choice((bytes(length), dice.randbytes(length)))[: size - start])
    return f"{length} bytes from {start} of {size} overwritten"
