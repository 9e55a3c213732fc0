"""One placing in an output tree by hand, for tests: what the daemon does with a worker's result or a copied original.

As a program it does one and writes each intent to standard output first, as the daemon writes it to its store:
`python -m tests.mirroring WATCHED OUTPUT NAME RESULT_BYTES EARLIER [refusal ...]` (see `tests.replacing.refuse`).
`RESULT_BYTES` 0 stands for a copy; `EARLIER` is a pickled Output in hex, or empty.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace as with_fields
from pathlib import Path
from typing import NamedTuple

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.hashing import sha256_of
from imgoptd.adapters.look import ignore_lease_signals
from imgoptd.adapters.mirror import MirrorJob, open_job, place, prepare_copy
from imgoptd.adapters.replace import Materialised, Recovery, Refused, prepare, recover
from imgoptd.core.model import FileRef, Intent, Mirrored, Output
from tests.replacing import NEW, PROJECT, identity, refuse, save


class Trees(NamedTuple):
    """The watched folder and the output tree."""

    watched: Path
    output: Path


def start(trees: Trees, name: str, earlier: Output | None, result: bytes = NEW) -> MirrorJob:
    """An open job whose output holds `result`, as after a worker; nothing yet where that is empty."""
    path = os.fsencode(name)
    spool = trees.watched.parent / "spool"
    spool.mkdir(exist_ok=True)
    with Folder(os.fsencode(trees.watched)) as source, Folder(os.fsencode(trees.output)) as output:
        job = open_job(source, output, path, identity(source, path), earlier, os.fsencode(spool))
    os.write(job.output_fd, result)
    return job


def intend(trees: Trees, name: str, job: MirrorJob, result: bytes = NEW) -> Intent:
    """Prepare the job and say what the durable intent would."""
    ready = prepare(job, len(result)) if result else prepare_copy(job)
    displaced_sha256 = job.earlier.sha256 if job.earlier is not None and job.standing is not None else ""
    mirrored = Mirrored(os.fsencode(trees.output), job.identity, sha256_of(job.input_fd))
    ref = FileRef(os.fsencode(trees.watched), os.fsencode(name))
    return Intent(ref, ready.temp_name, job.displaces, ready.result, ready.sha256, displaced_sha256, mirrored=mirrored)


def put(job: MirrorJob, intent: Intent, *, announce: bool = False) -> Output:
    """Place it, by way of a copy where the filesystem needs one; what the store would know of it then."""
    if announce:
        save(intent)
    done = place(job, intent)
    if isinstance(done, Materialised):
        intent = with_fields(intent, result=done.result)
        if announce:
            save(intent)
        done = place(job, intent)
    assert not isinstance(done, Materialised) and intent.mirrored is not None
    return Output(intent.ref, intent.mirrored.root, done.result, intent.result_sha256, intent.mirrored.source_sha256)


def mirrored(trees: Trees, name: str = "a.jpg", earlier: Output | None = None, result: bytes = NEW) -> Output:
    """Do all of it."""
    with start(trees, name, earlier, result) as job:
        return put(job, intend(trees, name, job, result))


def refused(trees: Trees, name: str = "a.jpg", earlier: Output | None = None, result: bytes = NEW) -> str:
    """Kind and reason of the failure with which it ends."""
    try:
        mirrored(trees, name, earlier, result)
    except Refused as error:
        return f"{error.failure.kind} {error.failure.reason}"
    raise AssertionError("it was not refused")


def in_process(
    trees: Trees, *refusals: str, failpoint: str, earlier: Output | None = None, result: bytes = NEW
) -> tuple[int, list[Intent]]:
    """Do it in a process of its own; its exit status, and the intents it made durable, in order."""
    given = pickle.dumps(earlier).hex() if earlier is not None else ""
    command = [sys.executable, "-m", "tests.mirroring", *map(str, trees), "sub/a.jpg", str(len(result)), given]
    environment = {**os.environ, "IMGOPTD_FAILPOINT": failpoint}
    done = subprocess.run(
        [*command, *refusals], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, timeout=60, check=False
    )
    intents, rest = [], done.stdout
    while rest:
        size = int.from_bytes(rest[:4], "big")
        intents.append(pickle.loads(rest[4 : 4 + size]))
        rest = rest[4 + size :]
    return done.returncode, intents


def recovered(trees: Trees, intent: Intent) -> Recovery:
    """Recover, and again, which must change nothing more."""
    with Folder(os.fsencode(trees.output)) as output:
        done = recover(output, intent)
        again = recover(output, intent)
    assert (again.finished, again.identity, again.settled) == (done.finished, done.identity, True)
    return done


def main(watched: str, output: str, name: str, result_bytes: str, earlier: str, *refusals: str) -> None:
    ignore_lease_signals()
    for what in refusals:
        refuse(what)
    trees, result = Trees(Path(watched), Path(output)), NEW[: int(result_bytes)]
    known = pickle.loads(bytes.fromhex(earlier)) if earlier else None
    with start(trees, name, known, result) as job:
        put(job, intend(trees, name, job, result), announce=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
