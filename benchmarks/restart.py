"""`python -m benchmarks.restart [--files N] [--starts N] [--found]`: how long a start takes with much left to do.

A store that holds every file as queued is what a `kill -9` in the midst of work leaves. Each start is measured from
spawning the process to READY (as systemd is told), to the first file that is done, and to the one that makes a hundred;
then the daemon is killed, with what it was doing left for the next start.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import tests.images
from imgoptd.adapters.store import Store
from imgoptd.core.commands import BaselineTaken, SaveFile
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState

PICTURES = 16
"""Different ones; a comment makes each file a content of its own."""
COMMENT = 0xFE
"""The marker of a JPEG's comment segment."""
MANY = 100
GIVES_UP_S = 120.0


class Start(NamedTuple):
    """Seconds from spawning the process."""

    ready_s: float
    first_s: float
    many_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--found", action="store_true", help="files that a scan found, instead of fresh drops")
    parser.add_argument("--scratch", help="where to make the files (default: the temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imgoptd-bench-", dir=chosen.scratch) as scratch:
        folder = Path(scratch)
        plant(folder, chosen.files, fresh=not chosen.found)
        starts = []
        for number in range(1, chosen.starts + 1):
            starts.append(one := start(folder))
            print(f"{number}: ready {one.ready_s:.2f} s, first {one.first_s:.2f} s, {MANY} done {one.many_s:.2f} s")
        for what, seconds in zip(("ready", "first done", f"{MANY} done"), zip(*starts, strict=True), strict=True):
            print(f"{what}: {spread(seconds)}")


def plant(scratch: Path, files: int, *, fresh: bool) -> None:
    """The watched folder, its configuration, and a store in which every file waits."""
    watched = scratch / "watched"
    watched.mkdir()
    (scratch / "imgoptd.toml").write_text(
        f'[daemon]\nstate_dir = "{scratch}/state"\ncontrol = "{scratch}/control.sock"\nlog = "text"\n'
        f'[[watch]]\npath = "{watched}"\n'
    )
    pictures = [tests.images.jpeg(tests.images.photo(240, 180, seed)) for seed in range(PICTURES)]
    records = []
    for number in range(files):
        path = watched / f"{number:06}.jpg"
        path.write_bytes(tests.images.with_segment(pictures[number % PICTURES], COMMENT, b"%d" % number))
        status = path.stat()
        identity = Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        ref = FileRef(os.fsencode(watched), os.fsencode(path.name))
        records.append(FileRecord(ref, identity, JobState.QUEUED, uid=status.st_uid, fresh=fresh))
    store = Store.open(scratch / "state")
    store.commit([*map(SaveFile, records), BaselineTaken(os.fsencode(watched))])
    store.close()


def start(scratch: Path) -> Start:
    """One start and its end by SIGKILL."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(os.fsencode(scratch / "notify"))
        began_s = time.monotonic()
        process = subprocess.Popen(
            [Path(sys.executable).parent / "imgoptd", "--config", scratch / "imgoptd.toml"],
            stderr=subprocess.PIPE,
            env=os.environ | {"NOTIFY_SOCKET": str(scratch / "notify")},
            start_new_session=True,
        )
        try:
            notified.settimeout(GIVES_UP_S)
            while b"READY=1" not in notified.recv(4096):
                pass
            ready_s = time.monotonic() - began_s
            done = [time_s - began_s for time_s, _ in zip(times_of_done(process), range(MANY), strict=False)]
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            (scratch / "notify").unlink()
    if len(done) < MANY:
        sys.exit("the daemon ended, or did not do enough files to be measured")
    return Start(ready_s, done[0], done[-1])


def times_of_done(process: subprocess.Popen[bytes]) -> Iterator[float]:
    """When each line came that tells of a file done (monotonic)."""
    assert process.stderr is not None
    for line in process.stderr:
        if b"done /" in line:
            yield time.monotonic()


def spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99_s = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"median {statistics.median(ordered):.2f} s, p99 {p99_s:.2f} s ({ordered[0]:.2f}-{ordered[-1]:.2f} s)"


if __name__ == "__main__":
    main()
