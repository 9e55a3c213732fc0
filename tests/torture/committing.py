"""One file's way from a worker's result to its receipt, in a process that is forked warm for each trial.

What the daemon's threads do from `Prepare` to the receipt is done here by one thread, in the same order, with the same
calls into the same rooms and a real store: so a call can be named by its number and met again in the next trial.

As a program (`python -m tests.torture.committing`) it serves trials, one at a time, asked for by lines on standard
input: `replace BASE WAY` and `recover BASE WAY` answer `ready PID`, wait for `go`, and end with `ended STATUS`, as
os.waitstatus_to_exitcode gives it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as with_fields
from pathlib import Path
from typing import NoReturn

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import ignore_lease_signals, look
from imgoptd.adapters.replace import (
    UNFINISHED,
    Materialised,
    OpenJob,
    Placed,
    Refused,
    exchange,
    prepare,
    prepare_keeping,
    recover,
)
from imgoptd.adapters.replace.names import Names
from imgoptd.adapters.store import Store, StoreError
from imgoptd.core.commands import AppendStep, DropIntent, Record, SaveFile, SaveIntent, SaveKept, SaveReceipt
from imgoptd.core.model import FileRecord, FileRef, Intent, JobState, Kept, Receipt
from imgoptd.core.recovery import records_after
from tests.replacing import NEW, NEWER, refuse, start

NAME = b"a.jpg"


@dataclass(frozen=True, slots=True)
class Way:
    refuses: tuple[str, ...] = ()
    """What the kernel refuses (see `tests.replacing.refuse`)."""
    keeps: bool = False
    """The original is kept, as for an undo."""
    blocked: bool = False
    """It cannot be kept in the watched folder, so it goes to state_dir."""
    closes: bool = False
    """The store is closed in the end, as by a daemon that was told to stop; else it is left as by a kill."""
    saved: bool = False
    """Somebody saves a newer file in the very moment before the exchange."""


WAYS = {
    "exchanged": Way(),
    "exchanged, then stopped": Way(closes=True),
    "copied": Way(("tmpfile",)),
    "renamed": Way(("exchange",)),
    "copied and renamed": Way(("tmpfile", "exchange")),
    "put back": Way(saved=True),
    "kept": Way(keeps=True),
    "kept in state_dir": Way(keeps=True, blocked=True),
    "kept, copied and renamed": Way(("tmpfile", "exchange"), keeps=True),
    "kept, put back": Way(keeps=True, saved=True),
    "kept in state_dir, put back": Way(keeps=True, blocked=True, saved=True),
}

COMMITS_TRIED = 3
"""The daemon tries for ever; a trial must end, as if it were killed meanwhile."""


class Trial:
    """The folders of one trial: the watched one, the store's, and the spool."""

    def __init__(self, base: Path) -> None:
        self.root = base / "root"
        self.state = base / "state"
        self.spool = base / "spool"

    @property
    def path(self) -> Path:
        return self.root / os.fsdecode(NAME)

    @property
    def ref(self) -> FileRef:
        return FileRef(os.fsencode(self.root), NAME)


def commit(store: Store, *records: Record) -> None:
    """Raises StoreError where it cannot be done."""
    for tried in range(COMMITS_TRIED):
        try:
            return store.commit(records)
        except StoreError:
            if tried == COMMITS_TRIED - 1:
                raise
    return None


def replace(trial: Trial, way: Way, wait: Callable[[], None]) -> None:
    """The whole way; `wait` is called when a worker's result is there and all that follows is the commit path."""
    for what in way.refuses:
        refuse(what)
    if way.saved:
        _save_in_the_last_moment(trial)
    store = Store.open(trial.state)
    with Folder(os.fsencode(trial.root)) as folder:
        identity = look(folder, NAME).identity
        assert identity is not None
        record = FileRecord(trial.ref, identity, JobState.ACTIVE)
        commit(store, SaveFile(record))
        with start(folder, NAME, trial.spool) as job:
            job.sha256 = sha256_of(job.input_fd)
            wait()
            _commit_path(store, folder, job, with_fields(record, sha256=job.sha256), trial if way.keeps else None)
    if way.closes:
        store.close()


def _commit_path(store: Store, folder: Folder, job: OpenJob, record: FileRecord, keeps: Trial | None) -> None:
    """As engine and supervisor do it between them, a refusal included."""
    try:
        keep = None if keeps is None else prepare_keeping(job, folder, NAME, os.fsencode(keeps.state))
        ready = prepare(job, len(NEW))
        intent = Intent(record.ref, ready.temp_name, job.identity, ready.result, ready.sha256, record.sha256, keep)
        commit(store, SaveIntent(intent))
        done = exchange(job, intent)
        if isinstance(done, Materialised):
            intent = with_fields(intent, result=done.result)
            commit(store, SaveIntent(intent))
            done = exchange(job, intent)
        assert isinstance(done, Placed)
    except Refused as refused:
        _deferred(store, record, refused.failure.reason, refused.failure.detail)
        return
    except OSError as error:  # the supervisor makes a failure of it
        _deferred(store, record, "io-error", str(error))
        return
    before, after = job.identity.size, done.result.size
    receipt = Receipt(record.ref, record.sha256, intent.result_sha256, before, after, "archive")
    ended = with_fields(record, identity=done.result, state=JobState.DONE, sha256=intent.result_sha256)
    step = AppendStep(record.ref, "done", "optimized")
    kept: list[Record] = []
    if keep is not None:
        assert done.kept is not None
        kept = [SaveKept(Kept(record.ref, keep, done.kept, record.sha256, done.result, intent.result_sha256))]
    commit(store, DropIntent(record.ref), SaveReceipt(receipt), *kept, SaveFile(ended), step)


def _deferred(store: Store, record: FileRecord, reason: str, detail: str) -> None:
    dropped: list[Record] = [] if reason == UNFINISHED else [DropIntent(record.ref)]
    waiting = with_fields(record, state=JobState.DEFERRED, reason=reason, detail=detail)
    commit(store, *dropped, SaveFile(waiting), AppendStep(record.ref, "deferred", detail))


def _save_in_the_last_moment(trial: Trial) -> None:
    """From now on in this process the first exchange meets a newer file at the path."""
    exchange_names = Names.exchange

    def late(names: Names) -> None:
        Names.exchange = exchange_names  # type: ignore[method-assign]  # the one place where no other program can be
        os.rename(trial.root.parent / "draft", trial.path)
        exchange_names(names)

    (trial.root.parent / "draft").write_bytes(NEWER)
    Names.exchange = late  # type: ignore[method-assign, assignment]  # as above


def finish(trial: Trial, way: Way) -> None:
    """What a start of the daemon does: put names right by the intents; what is not done then, is done once more."""
    store = Store.open(trial.state)
    assert not store.opened_fresh_because, store.opened_fresh_because
    with Folder(os.fsencode(trial.root)) as folder:
        for intent in store.intents():
            done = recover(folder, intent, os.fsencode(trial.state))
            assert done.settled, done.sentence
            known = store.file(intent.ref)
            store.commit(
                records_after(intent, known, done.finished, done.identity, done.sentence, "archive", done.kept)
            )
    known = store.file(trial.ref)
    assert known is not None
    store.close()
    if known.state is not JobState.DONE and trial.path.read_bytes() != NEWER:
        replace(trial, Way(keeps=way.keeps, closes=True), lambda: None)


# ---- the server -----------------------------------------------------------------------------------------------------


def serve() -> None:
    for line in sys.stdin:
        what, base, way = line.rstrip("\n").split("\t")
        (here, there), (going, go) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(here)
            os.close(go)
            _live(what, Trial(Path(base)), WAYS[way], there, going)
        os.close(there)
        os.close(going)
        os.read(here, 1)  # it has come to the point, or to its end
        print(f"ready {child}", flush=True)
        if sys.stdin.readline():
            try:
                os.write(go, b"g")
            except BrokenPipeError:
                pass  # it was killed while it waited
        os.close(go)
        os.close(here)
        print(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)


def _live(what: str, trial: Trial, way: Way, there: int, going: int) -> NoReturn:
    """The child."""

    def wait() -> None:
        os.write(there, b"t")
        os.read(going, 1)

    status = 1
    try:
        if what == "replace":
            replace(trial, way, wait)
        else:
            wait()
            finish(trial, way)
        status = 0
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        status = 3
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    ignore_lease_signals()
    serve()
