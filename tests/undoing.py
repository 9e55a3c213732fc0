"""Originals kept and brought back by hand, for tests: the steps of the daemon without the daemon.

As a program it brings one back, and dies where IMGOPTD_FAILPOINT says: `python -m tests.undoing ROOT STATE KEPT` (the
row as a pickle in hexadecimal).
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace as with_fields
from pathlib import Path
from signal import SIGKILL

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import ignore_lease_signals
from imgoptd.adapters.replace import exchange, prepare, prepare_keeping
from imgoptd.adapters.replace.exchanging import Materialised, Placed
from imgoptd.adapters.undo import PutBack, RestoreRecovery, open_restore, recover_restore, restore
from imgoptd.core.model import FileRef, Intent, Kept
from tests.replacing import NEW, PROJECT, save, start


def keep(root: Path, state: Path, name: str = "a.jpg", result: bytes = NEW, *, saved: bool = False) -> Kept:
    """Replace the file by `result` and keep its original. `saved`: write the intent to standard output first."""
    path = os.fsencode(name)
    with Folder(os.fsencode(root)) as folder, start(folder, path, state, result) as job:
        job.sha256 = sha256_of(job.input_fd)
        at = prepare_keeping(job, folder, path, os.fsencode(state))
        ready = prepare(job, len(result))
        ref = FileRef(folder.root, path)
        intent = Intent(ref, ready.temp_name, job.identity, ready.result, ready.sha256, job.sha256, at)
        if saved:
            save(intent)
        done = exchange(job, intent)
        if isinstance(done, Materialised):
            intent = with_fields(intent, result=done.result)
            if saved:
                save(intent)
            done = exchange(job, intent)
        assert isinstance(done, Placed) and done.kept is not None
        return Kept(ref, at, done.kept, job.sha256, done.result, ready.sha256)


def kept_file(kept: Kept, state: Path) -> Path:
    """Where it lies."""
    if kept.at.place is None:
        return state / "undo" / os.fsdecode(kept.at.name)
    folder = os.path.join(kept.ref.root, kept.at.place, b".imgoptd/undo")
    return Path(os.fsdecode(folder), os.fsdecode(kept.at.name))


def bring_back(kept: Kept, state: Path, *, force: bool = False) -> PutBack:
    """Raises Refused."""
    with Folder(kept.ref.root) as folder:
        opened = open_restore(folder, kept, os.fsencode(state), force=force)
        try:
            return restore(opened, force=force)
        finally:
            opened.close()


def died_restoring(kept: Kept, state: Path, point: str) -> Kept:
    """Bring it back in a process that dies there; the row as it was made durable before."""
    environment = {**os.environ, "IMGOPTD_FAILPOINT": f"restore.{point}"}
    command = [sys.executable, "-m", "tests.undoing", str(state), pickle.dumps(kept).hex()]
    done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == -SIGKILL
    row = pickle.loads(bytes.fromhex(done.stdout.decode()))
    assert isinstance(row, Kept)
    return row


def recovered_restore(kept: Kept, state: Path) -> RestoreRecovery:
    """Recover, and again, which must change nothing more."""
    with Folder(kept.ref.root) as folder:
        done = recover_restore(folder, kept, os.fsencode(state))
        again = recover_restore(folder, kept, os.fsencode(state))
    assert (again.still_kept, again.identity, again.settled) == (done.still_kept, done.identity, True)
    return done


def main(state: str, row: str) -> None:
    ignore_lease_signals()
    kept = pickle.loads(bytes.fromhex(row))
    with Folder(kept.ref.root) as folder:
        opened = open_restore(folder, kept, os.fsencode(state), force=False)
        os.write(1, pickle.dumps(opened.kept).hex().encode())
        restore(opened, force=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
