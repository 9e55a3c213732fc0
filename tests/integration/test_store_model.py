"""The store against a model of dictionaries, in any order of commits, failures and restarts."""

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from imgoptd.adapters.store import HISTORY_STEPS, Store
from imgoptd.core.commands import (
    AppendStep,
    BaselineTaken,
    DropIntent,
    Record,
    SaveFile,
    SaveIntent,
    SaveOutput,
    SaveReceipt,
)
from imgoptd.core.model import FileRecord, FileRef, Identity, ImageFacts, Intent, JobState, Mirrored, Output, Receipt

ROOTS = [b"/srv/a", b"/srv/\xff"]
REFS = [FileRef(root, path) for root in ROOTS for path in (b"a.jpg", b"x/\xfe\n.png")]
TREES = [b"", b"/srv/small", b"/srv/\xff"]
UNFINISHED = {JobState.QUEUED, JobState.ACTIVE, JobState.DEFERRED, JobState.HELD}
COUNTED = {JobState.SKIPPED, JobState.QUARANTINED}

refs = st.sampled_from(REFS)
identities = st.builds(
    Identity, st.integers(0, 2**64 - 1), st.integers(0, 3), st.integers(0, 2**63 - 1), st.integers(-(2**70), 2**70)
)
hashes = st.sampled_from(["", "00" * 32, "0a" * 32, "ff" * 32])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
trees = st.sampled_from(TREES)
facts = st.none() | st.builds(ImageFacts, format=st.sampled_from(["jpeg", "png"]), width=st.integers(0, 2**31))
files = st.builds(
    FileRecord,
    ref=refs,
    identity=identities,
    state=st.sampled_from([state for state in JobState if state is not JobState.SETTLING]),
    reason=texts,
    detail=texts,
    uid=st.integers(-1, 2**32 - 1),
    fresh=st.booleans(),
    attempts=st.integers(0, 9),
    sha256=hashes,
    facts=facts,
    bytes_before=st.integers(0, 2**40),
    bytes_after=st.integers(0, 2**40),
    output=trees,
)
mirrored = st.none() | st.builds(Mirrored, trees, identities, hashes)
intents = st.builds(
    Intent, refs, st.binary(max_size=8), identities, st.none() | identities, hashes, hashes, mirrored=mirrored
)
outputs = st.builds(Output, refs, trees, identities, hashes, hashes)
receipts = st.builds(Receipt, refs, hashes, hashes, st.integers(0, 2**40), st.integers(0, 2**40), texts)
records = st.one_of(
    st.builds(SaveFile, files),
    st.builds(AppendStep, refs, texts, texts),
    st.builds(SaveIntent, intents),
    st.builds(DropIntent, refs),
    st.builds(SaveReceipt, receipts),
    st.builds(SaveOutput, outputs),
    st.builds(BaselineTaken, st.sampled_from(ROOTS)),
)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="imgoptd-store-"))
        self.store = Store.open(self.folder)
        self.files: dict[FileRef, FileRecord] = {}
        self.steps: defaultdict[FileRef, list[tuple[str, str]]] = defaultdict(list)
        self.open_intents: dict[FileRef, Intent] = {}
        self.receipts: defaultdict[FileRef, list[Receipt]] = defaultdict(list)
        self.outputs: dict[tuple[FileRef, bytes], Output] = {}
        self.baselines: set[bytes] = set()
        self.counts = {JobState.SKIPPED: 0, JobState.QUARANTINED: 0}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(batch=st.lists(records, max_size=12))
    def commit(self, batch: list[Record]) -> None:
        self.store.commit(batch)
        for record in batch:
            self.apply(record)

    @rule(batch=st.lists(records, max_size=4), ref=refs)
    def commit_with_a_record_that_cannot_be(self, batch: list[Record], ref: FileRef) -> None:
        impossible = FileRecord(ref, Identity(0, 0, 0, 0), JobState.SETTLING)
        with pytest.raises(ValueError, match="settling"):
            self.store.commit([*batch, SaveFile(impossible)])

    @rule(ref=refs, count=st.integers(1, 70))
    def live_long(self, ref: FileRef, count: int) -> None:
        self.commit_steps([AppendStep(ref, "step", str(number)) for number in range(count)])

    def commit_steps(self, batch: list[AppendStep]) -> None:
        self.store.commit(batch)
        for record in batch:
            self.apply(record)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder)
        assert self.store.opened_fresh_because == ""

    def apply(self, record: Record) -> None:
        match record:
            case SaveFile(file):
                was = self.files.get(file.ref)
                if file.state in COUNTED and (was is None or (was.state, was.identity) != (file.state, file.identity)):
                    self.counts[file.state] += 1
                self.files[file.ref] = file
            case AppendStep(ref, step, text):
                self.steps[ref].append((step, text))
            case SaveIntent(intent):
                self.open_intents[intent.ref] = intent
            case DropIntent(ref):
                self.open_intents.pop(ref, None)
            case SaveReceipt(receipt):
                self.receipts[receipt.ref].append(receipt)
            case SaveOutput(output):
                self.outputs[output.ref, output.root] = output
            case BaselineTaken(root):
                self.baselines.add(root)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        for ref in REFS:
            assert self.store.file(ref) == self.files.get(ref)
            assert [step[1:] for step in self.store.history(ref)] == self.steps[ref][-HISTORY_STEPS:]
            assert self.store.receipts(ref) == self.receipts[ref]
            for root in TREES:
                assert self.store.output(ref, root) == self.outputs.get((ref, root))
        unfinished = {ref: file for ref, file in self.files.items() if file.state in UNFINISHED}
        assert {file.ref: file for file in self.store.unfinished()} == unfinished
        assert {intent.ref: intent for intent in self.store.intents()} == self.open_intents
        assert {root for root in ROOTS if self.store.has_baseline(root)} == self.baselines

    @invariant()
    def totals_and_results_follow_from_the_receipts(self) -> None:
        every = [receipt for of_file in self.receipts.values() for receipt in of_file]
        before, after = sum(one.bytes_before for one in every), sum(one.bytes_after for one in every)
        assert self.store.totals() == {
            "done": len(every),
            "skipped": self.counts[JobState.SKIPPED],
            "quarantined": self.counts[JobState.QUARANTINED],
            "bytes_before": before,
            "bytes_after": after,
            "saved": before - after,
        }
        results = {one.after_sha256 for one in every} - {""}
        assert {one for one in ("", "00" * 32, "0a" * 32, "ff" * 32) if self.store.is_result(one)} == results


TestStoreAgainstModel = StoreMachine.TestCase
TestStoreAgainstModel.settings = settings(max_examples=25, stateful_step_count=20)
