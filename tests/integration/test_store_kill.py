"""A process that commits is killed at a moment of nobody's choosing; what it was told is durable must be there."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imgoptd.adapters.store import Store

BATCH = 7

WRITER = f"""
import sys
from pathlib import Path
from imgoptd.adapters.store import Store
from imgoptd.core.commands import AppendStep, SaveFile, SaveReceipt
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState, Receipt

store = Store.open(Path(sys.argv[1]))
batch = 0
while True:
    records = []
    for number in range(batch * {BATCH}, (batch + 1) * {BATCH}):
        ref = FileRef(b"/srv/a", b"%d.jpg" % number)
        records.append(SaveFile(FileRecord(ref, Identity(1, number, 1, 1), JobState.QUEUED)))
        records.append(AppendStep(ref, "queued", "found"))
        records.append(SaveReceipt(Receipt(ref, "aa", "%08x" % number, 10, 9, "archive")))
    store.commit(records)
    batch += 1
    print(batch, flush=True)
"""


@pytest.mark.parametrize("seed", range(6))
def test_after_a_kill_every_confirmed_commit_is_there_and_none_is_half_there(tmp_path: Path, seed: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        confirmed = 0
        for _ in range(random.Random(seed).randint(1, 120)):
            confirmed = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        # What it managed to say before it died counts as confirmed, too; a cut line does not.
        confirmed = max([confirmed, *(int(line) for line in writer.stdout.read().splitlines(True) if line[-1] == "\n")])
    assert writer.returncode == -signal.SIGKILL
    store = Store.open(tmp_path)
    try:
        assert store.opened_fresh_because == ""
        found = [record.identity.ino for record in store.unfinished()]
        assert found == list(range(len(found)))
        assert len(found) % BATCH == 0
        # One commit may have become durable without its confirmation having been printed.
        assert len(found) // BATCH in (confirmed, confirmed + 1)
        assert store.totals()["done"] == len(found)
        assert all(len(store.history(record.ref)) == 1 for record in store.unfinished())
        assert store.is_result(f"{len(found) - 1:08x}")
        assert not store.is_result(f"{len(found):08x}")
    finally:
        store.close()
