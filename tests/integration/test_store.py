import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from imgoptd.adapters.store import HISTORY_STEPS, Store, StoreError
from imgoptd.adapters.store_schema import VERSION
from imgoptd.adapters.store_seal import Keeper, Seal, SealState
from imgoptd.core.commands import (
    AppendStep,
    BaselineBegun,
    BaselineTaken,
    DropIntent,
    Record,
    SaveFile,
    SaveIntent,
    SaveReceipt,
)
from imgoptd.core.model import (
    Failure,
    FailureKind,
    FileRecord,
    FileRef,
    Identity,
    ImageFacts,
    JobState,
)
from tests.integration.stored import IDENTITY, INTENT, ODD, OTHER_SHA, RECEIPT, REF, SHA, record


def test_a_new_store_is_empty_and_for_its_owner_alone(store: Store, state_dir: Path) -> None:
    store.commit([SaveFile(record())])
    assert store.opened_fresh_because == ""
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state_dir.iterdir()}
    assert modes == dict.fromkeys(["lock", "store.seal", "store.sqlite", "store.sqlite-shm", "store.sqlite-wal"], 0o600)


def test_a_path_never_heard_of_has_nothing(store: Store) -> None:
    assert store.file(REF) is None
    assert store.history(REF) == []
    assert store.receipts(REF) == []
    assert list(store.unfinished()) == []
    assert store.intents() == []
    assert set(store.totals().values()) == {0}
    assert not store.is_result(SHA)
    assert not store.is_result("")
    assert not store.has_baseline(b"/srv/a")


def test_the_first_beginning_of_a_first_scan_counts_until_it_is_complete(store: Store, state_dir: Path) -> None:
    store.commit([BaselineBegun(b"/srv/a", 1_700_000_000_000_000_000)])
    store.close()
    again = Store.open(state_dir)
    try:
        again.commit([BaselineBegun(b"/srv/a", 1_800_000_000_000_000_000)])
        assert again.baseline_since(b"/srv/a") == 1_700_000_000_000_000_000
        assert again.baseline_since(b"/srv/b") == 0
        again.commit([BaselineTaken(b"/srv/a")])
        assert again.baseline_since(b"/srv/a") == 0
        assert again.opened_fresh_because == ""
    finally:
        again.close()


def test_what_is_committed_is_there_after_a_restart(store: Store, state_dir: Path) -> None:
    facts = ImageFacts("jpeg", 4000, 3000, 8, 3, 1, True, Failure(FailureKind.REJECTED, "trailer", "bytes after EOI"))
    full = FileRecord(REF, IDENTITY, JobState.DEFERRED, "no-space", "disk full", 1000, True, 2, SHA, facts, 1000, 800)
    store.commit(
        [
            SaveFile(full),
            AppendStep(REF, "queued", "found"),
            SaveIntent(INTENT),
            SaveReceipt(RECEIPT),
            BaselineTaken(b"/srv/a"),
        ]
    )
    store.close()
    reopened = Store.open(state_dir)
    try:
        assert reopened.file(REF) == full
        assert [(step, text) for _, step, text in reopened.history(REF)] == [("queued", "found")]
        assert reopened.intents() == [INTENT]
        assert reopened.receipts(REF) == [RECEIPT]
        assert reopened.has_baseline(b"/srv/a")
        assert not reopened.has_baseline(b"/srv")
    finally:
        reopened.close()


def test_names_that_are_not_utf8_are_names_like_others(store: Store) -> None:
    store.commit([SaveFile(record(ODD)), AppendStep(ODD, "queued", "found"), SaveIntent(replace(INTENT, ref=ODD))])
    assert store.file(ODD) == record(ODD)
    assert list(store.unfinished()) == [record(ODD)]
    assert store.intents() == [replace(INTENT, ref=ODD)]
    assert len(store.history(ODD)) == 1


def test_a_reason_with_a_name_that_is_not_utf8_is_kept_readable(store: Store) -> None:
    detail = os.fsdecode(b"cannot open \xff.jpg")
    store.commit([SaveFile(replace(record(), detail=detail)), AppendStep(REF, "deferred", detail)])
    saved = store.file(REF)
    assert saved is not None
    assert saved.detail == r"cannot open \udcff.jpg"
    assert store.history(REF)[0][2] == r"cannot open \udcff.jpg"


def test_device_inode_and_time_may_exceed_what_sqlite_calls_an_integer(store: Store) -> None:
    extreme = Identity(dev=2**64 - 1, ino=2**64 - 1, size=2**63 - 1, mtime_ns=-(2**63) * 10**9)
    store.commit([SaveFile(replace(record(), identity=extreme)), SaveIntent(replace(INTENT, original=extreme))])
    saved = store.file(REF)
    assert saved is not None
    assert saved.identity == extreme
    assert store.intents()[0].original == extreme


def test_a_settling_file_is_never_stored(store: Store) -> None:
    with pytest.raises(ValueError, match="settling"):
        store.commit([SaveFile(record(ODD)), SaveFile(record(state=JobState.SETTLING))])
    assert store.file(ODD) is None
    assert store.file(REF) is None


def test_when_a_commit_fails_nothing_of_it_is_applied_and_the_next_one_works(store: Store) -> None:
    new_root = FileRef(b"/srv/new", b"a.jpg")
    broken = replace(RECEIPT, ref=new_root, after_sha256="no hexadecimal")
    batch: list[Record] = [
        SaveFile(record(new_root)), AppendStep(new_root, "a", "b"), SaveReceipt(RECEIPT), SaveReceipt(broken),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="hexadecimal"):
        store.commit(batch)
    assert store.file(new_root) is None
    assert store.history(new_root) == []
    assert store.totals()["done"] == 0
    store.commit([SaveFile(record(new_root))])
    assert store.file(new_root) == record(new_root)


def test_unfinished_files_come_in_the_order_they_were_heard_of_while_commits_go_on(store: Store) -> None:
    refs = [FileRef(b"/srv/a", b"%d.jpg" % number) for number in range(1200)]
    store.commit([SaveFile(record(ref)) for ref in refs])
    unfinished = store.unfinished()
    first = [next(unfinished) for _ in range(600)]
    done = [SaveFile(record(ref, JobState.DONE)) for ref in (*refs[:100], *refs[1100:])]
    store.commit(done)
    rest = list(unfinished)
    assert [found.ref for found in first + rest] == refs[:1100]
    states = [JobState.QUEUED, JobState.ACTIVE, JobState.DEFERRED, JobState.HELD]
    finished = [JobState.DONE, JobState.SKIPPED, JobState.QUARANTINED]
    store.commit([SaveFile(record(ref, JobState.DONE)) for ref in refs])
    store.commit([SaveFile(record(ref, state)) for ref, state in zip(refs, states + finished, strict=False)])
    assert [found.state for found in store.unfinished()] == states


def test_what_is_known_of_a_folder_comes_in_order_of_path_and_in_pages(store: Store) -> None:
    paths = [b"b/c.jpg", b"a", b"\xff", b"b.jpg", b"b", b"a\x00b", b"b/\xfe"]
    store.commit([SaveFile(record(FileRef(b"/srv/a", path), JobState.DONE)) for path in paths])
    store.commit([SaveFile(record(ODD)), AppendStep(FileRef(b"/srv/a", b"named only"), "settling", "created")])
    store.commit([SaveFile(replace(record(REF, JobState.SKIPPED), reason="vanished"))])
    found = []
    after = b""
    while page := store.known(b"/srv/a", after, 3):
        found += page
        after = page[-1].path
    assert [one.path for one in found] == sorted([*paths, REF.path])
    vanished = found[-2]
    assert (vanished.path, vanished.identity) == (REF.path, IDENTITY)
    assert (vanished.state, vanished.reason) == (JobState.SKIPPED, "vanished")
    assert store.known(b"/srv/b", b"", 3) == []


def test_a_vanished_file_is_forgotten_unless_its_row_is_still_needed(store: Store) -> None:
    refs = {name: FileRef(b"/srv/a", name.encode()) for name in ("skipped", "receipt", "intent", "existing", "other")}
    skipped = [SaveFile(replace(record(ref, JobState.SKIPPED), reason="vanished")) for ref in refs.values()]
    store.commit([*skipped, *(AppendStep(ref, "skipped", "vanished") for ref in refs.values())])
    store.commit([SaveReceipt(replace(RECEIPT, ref=refs["receipt"])), SaveIntent(replace(INTENT, ref=refs["intent"]))])
    store.commit([SaveFile(replace(record(refs["existing"], JobState.SKIPPED), reason="existing"))])
    others = [FileRef(b"/srv/a", state.encode()) for state in JobState if state is not JobState.SETTLING]
    store.commit([SaveFile(record(ref, JobState(ref.path.decode()))) for ref in others if ref.path != b"skipped"])
    asked = [ref for name, ref in refs.items() if name != "other"]
    assert store.forget([*asked, *others, FileRef(b"/srv/never", b"heard of")]) == 1
    assert store.file(refs["skipped"]) is None
    assert store.history(refs["skipped"]) == []
    left = [refs["receipt"], refs["intent"], refs["existing"], refs["other"], *others]
    assert [ref for ref in left if store.file(ref) is None] == [refs["skipped"]]
    assert len(store.history(refs["other"])) == 1
    assert store.forget([]) == 0


def test_questions_asked_for_each_file_are_answered_from_an_index(store: Store, state_dir: Path) -> None:
    store.commit([SaveFile(record())])
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    list(store.unfinished())
    store.file(REF)
    store.is_result(SHA)
    store.history(REF)
    store.receipts(REF)
    store.known(b"/srv/a", b"x", 10)
    store.prove_known(b"/srv/a", b"x", 10)
    store.forget([REF])
    store.commit([SaveFile(record()), AppendStep(REF, "a", "b"), SaveReceipt(RECEIPT), SaveIntent(INTENT)])
    store.commit([DropIntent(REF), BaselineTaken(b"/srv/a")])
    store._connection.set_trace_callback(None)
    asked = [one for one in statements if one.startswith(("SELECT", "UPDATE", "DELETE"))]
    plans = [row[3] for one in asked for row in store._connection.execute(f"EXPLAIN QUERY PLAN {one}")]
    assert len(asked) > 10
    assert [plan for plan in plans if plan.startswith("SCAN") and "file_unfinished" not in plan] == []
    assert any("file_unfinished" in plan for plan in plans)


def test_the_history_keeps_the_last_steps_in_order_with_their_times(state_dir: Path) -> None:
    now_s = 1_700_000_000.0

    def wall() -> float:
        nonlocal now_s
        now_s += 0.25
        return now_s

    store = Store.open(state_dir, wall)
    try:
        for number in range(137):
            store.commit([AppendStep(REF, "step", str(number)), AppendStep(ODD, "other", "")])
        history = store.history(REF)
        assert [text for _, _, text in history] == [str(number) for number in range(137 - HISTORY_STEPS, 137)]
        assert history[-1][0] - history[0][0] == (HISTORY_STEPS - 1) * 0.5
        [(rows,)] = store._connection.execute("SELECT count(*) FROM step")
        assert rows < 2 * (HISTORY_STEPS + 10)
    finally:
        store.close()


def test_a_file_of_which_only_the_history_is_known_has_no_row(store: Store) -> None:
    store.commit([AppendStep(REF, "settling", "created"), SaveReceipt(replace(RECEIPT, ref=ODD))])
    assert store.file(REF) is None
    assert store.file(ODD) is None
    assert list(store.unfinished()) == []


def test_an_intent_is_replaced_and_dropped_by_its_file(store: Store) -> None:
    unknown = replace(INTENT, result=None, original_sha256="")
    store.commit([SaveIntent(unknown)])
    assert store.intents() == [unknown]
    store.commit([SaveIntent(INTENT), SaveIntent(replace(INTENT, ref=ODD)), DropIntent(ODD), DropIntent(ODD)])
    assert store.intents() == [INTENT]


def test_a_content_is_known_as_our_result_by_the_hash_in_any_receipt(store: Store) -> None:
    store.commit([SaveReceipt(RECEIPT)])
    assert store.is_result(OTHER_SHA)
    assert store.is_result(OTHER_SHA.upper())
    assert not store.is_result(SHA)


def test_totals_count_receipts_and_files_that_come_to_rest(store: Store) -> None:
    skipped, quarantined = record(state=JobState.SKIPPED), record(ODD, JobState.QUARANTINED)
    store.commit([SaveFile(skipped), SaveFile(quarantined)])
    store.commit([SaveFile(replace(skipped, reason="said otherwise"))])  # the same outcome told again
    store.commit([SaveFile(replace(skipped, identity=IDENTITY._replace(mtime_ns=1)))])  # another content
    store.commit([SaveReceipt(RECEIPT), SaveReceipt(replace(RECEIPT, bytes_before=500, bytes_after=400))])
    assert store.totals() == {
        "done": 2,
        "skipped": 2,
        "quarantined": 1,
        "bytes_before": 1500,
        "bytes_after": 1200,
        "saved": 300,
    }


def test_a_well_closed_store_is_one_file_and_its_seal(store: Store, state_dir: Path) -> None:
    store.commit([SaveFile(record())])
    store.close()
    store.close()
    assert sorted(path.name for path in state_dir.iterdir()) == ["lock", "store.seal", "store.sqlite"]


@pytest.mark.parametrize("sealed", [True, False])
def test_a_store_of_a_newer_version_is_left_alone(store: Store, state_dir: Path, sealed: bool) -> None:
    store.close()
    if sealed:
        Keeper(state_dir, Seal(SealState.CLOSED, VERSION + 6)).close()
    else:
        (state_dir / "store.seal").unlink()
    connection = sqlite3.connect(state_dir / "store.sqlite")
    connection.execute(f"PRAGMA user_version = {VERSION + 6}")
    connection.close()
    before = (state_dir / "store.sqlite").read_bytes()
    with pytest.raises(
        StoreError, match=rf"newer imgoptd \(schema {VERSION + 6}, this one knows {VERSION}\); run that"
    ):
        Store.open(state_dir)
    assert (state_dir / "store.sqlite").read_bytes() == before


def test_a_migration_that_fails_leaves_the_store_as_it_was(state_dir: Path) -> None:
    state_dir.mkdir(parents=True)
    connection = sqlite3.connect(state_dir / "store.sqlite")
    connection.execute("CREATE TABLE step (something_else)")  # stands in the way of the first migration, half way
    connection.close()
    with pytest.raises(StoreError, match="cannot be opened: table step already exists; look at the filesystem"):
        Store.open(state_dir)
    connection = sqlite3.connect(state_dir / "store.sqlite")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("step",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    connection.close()
