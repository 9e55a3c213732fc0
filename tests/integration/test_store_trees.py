"""What the store knows of output trees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imgoptd.adapters.store import Store
from imgoptd.core.commands import (
    SaveFile,
    SaveIntent,
    SaveOutput,
)
from imgoptd.core.model import (
    JobState,
    Mirrored,
    Output,
)
from tests.integration.stored import IDENTITY, INTENT, ODD, OTHER_SHA, REF, SHA, record

# ---- output trees ---------------------------------------------------------------------------------------------------

OUTPUT = Output(REF, b"/srv/small\xff", IDENTITY, OTHER_SHA, SHA)


def test_what_stands_in_each_output_tree_is_known_by_file_and_tree(store: Store, state_dir: Path) -> None:
    elsewhere = replace(OUTPUT, root=b"/srv/other", sha256=SHA)
    newer = replace(OUTPUT, identity=IDENTITY._replace(ino=99))
    store.commit([SaveOutput(OUTPUT), SaveOutput(elsewhere), SaveOutput(newer)])
    store.close()
    reopened = Store.open(state_dir)
    try:
        assert reopened.output(REF, OUTPUT.root) == newer
        assert reopened.output(REF, b"/srv/other") == elsewhere
        assert reopened.output(ODD, OUTPUT.root) is None
        assert reopened.has_outputs(b"/srv/other")
        assert not reopened.has_outputs(b"/srv/third")
    finally:
        reopened.close()


def test_a_row_and_an_intent_keep_the_output_tree_they_are_for(store: Store) -> None:
    intent = replace(INTENT, mirrored=Mirrored(OUTPUT.root, IDENTITY._replace(ino=5), SHA))
    row = replace(record(), output=OUTPUT.root)
    store.commit([SaveIntent(intent), SaveFile(row)])
    assert store.intents() == [intent]
    assert store.file(REF) == row
    assert store.known(REF.root, b"", 9)[0].output == OUTPUT.root


def test_a_vanished_original_whose_output_stands_is_not_forgotten(store: Store) -> None:
    store.commit([SaveFile(replace(record(REF, JobState.SKIPPED), reason="left-alone")), SaveOutput(OUTPUT)])
    assert store.forget([REF]) == 0
    assert store.output(REF, OUTPUT.root) == OUTPUT
