"""One file's way from a worker's result to its receipt, in a process that is forked warm for each trial.

What the daemon's threads do from `Prepare` to the receipt is done here by one thread, in the same order, with the same
calls into the same rooms and a real store: so a call can be named by its number and met again in the next trial.

As a program (`python -m tests.torture.committing`) it serves trials, one at a time, asked for by lines on standard
input: `replace BASE WAY` answers `ready PID` and waits for `go`; `recover BASE` goes at once; both end with
`ended STATUS`, as os.waitstatus_to_exitcode gives it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace as with_fields
from pathlib import Path
from typing import NoReturn

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import ignore_lease_signals, look
from imgoptd.adapters.replace import UNFINISHED, Materialised, OpenJob, Placed, Refused, exchange, prepare, recover
from imgoptd.adapters.replace.names import Names
from imgoptd.adapters.store import Store, StoreError
from imgoptd.core.commands import AppendStep, DropIntent, Record, SaveFile, SaveIntent, SaveReceipt
from imgoptd.core.model import FileRecord, FileRef, Intent, JobState, Receipt
from imgoptd.core.recovery import records_after
from tests.replacing import NEW, NEWER, refuse, start

NAME = b"a.jpg"
WAYS = {
    "exchanged": (),
    "copied": ("tmpfile",),
    "renamed": ("exchange",),
    "copied and renamed": ("tmpfile", "exchange"),
    "put back": (),
}
"""What the kernel refuses in each (see `tests.replacing.refuse`). In the last, somebody saves a newer file in the very
moment before the exchange."""

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


def replace(trial: Trial, way: str, wait: Callable[[], None]) -> None:
    """The whole way; `wait` is called when a worker's result is there and all that follows is the commit path."""
    for what in WAYS[way]:
        refuse(what)
    if way == "put back":
        _save_in_the_last_moment(trial)
    store = Store.open(trial.state)
    with Folder(os.fsencode(trial.root)) as folder:
        identity = look(folder, NAME).identity
        assert identity is not None
        record = FileRecord(trial.ref, identity, JobState.ACTIVE)
        commit(store, SaveFile(record))
        with start(folder, NAME, trial.spool) as job:
            record = with_fields(record, sha256=sha256_of(job.input_fd))
            wait()
            _commit_path(store, job, record)
    store.close()


def _commit_path(store: Store, job: OpenJob, record: FileRecord) -> None:
    """As engine and supervisor do it between them, a refusal included."""
    try:
        ready = prepare(job, len(NEW))
        intent = Intent(record.ref, ready.temp_name, job.identity, ready.result, ready.sha256, record.sha256)
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
    commit(store, DropIntent(record.ref), SaveReceipt(receipt), SaveFile(ended), step)


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


def finish(trial: Trial) -> None:
    """What a start of the daemon does: put names right by the intents; what is not done then, is done once more."""
    store = Store.open(trial.state)
    assert not store.opened_fresh_because, store.opened_fresh_because
    with Folder(os.fsencode(trial.root)) as folder:
        for intent in store.intents():
            recovery = recover(folder, intent)
            assert recovery.settled, recovery.sentence
            known = store.file(intent.ref)
            store.commit(
                records_after(intent, known, recovery.finished, recovery.identity, recovery.sentence, "archive")
            )
    known = store.file(trial.ref)
    assert known is not None
    store.close()
    if known.state is not JobState.DONE and trial.path.read_bytes() != NEWER:
        replace(trial, "exchanged", lambda: None)


# ---- the server -----------------------------------------------------------------------------------------------------


def serve() -> None:
    for line in sys.stdin:
        what, base, way = line.rstrip("\n").split("\t")
        (here, there), (going, go) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(here)
            os.close(go)
            _live(what, Trial(Path(base)), way, there, going)
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


def _live(what: str, trial: Trial, way: str, there: int, going: int) -> NoReturn:
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
            finish(trial)
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
