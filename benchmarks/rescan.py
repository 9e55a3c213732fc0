"""`python -m benchmarks.rescan [--files N] [--rounds N]`: a rescan of files that are all known, against find(1).

The scan is the daemon's own, over a real tree and a real store. Both walk and stat the same tree, one after the other
in each round; find does no more than that, the rescan also reads the store's row of each file and compares.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.journald import Log
from imgoptd.adapters.scanner import walk
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.config.rules import PathRules
from imgoptd.config.schema import Watch
from imgoptd.core import events as e
from imgoptd.core.commands import SaveFile
from imgoptd.core.model import FileRecord, FileRef, JobState
from imgoptd.core.rescan import Kind
from imgoptd.daemon.scans import Scans
from imgoptd.daemon.watched import Watched

FOLDER_FILES = 300
COMMIT_ROWS = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", help="where to make the tree (default: the temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imgoptd-bench-", dir=chosen.scratch) as scratch:
        root = Path(scratch, "tree")
        plant(root, chosen.files)
        asyncio.run(contest(root, Path(scratch, "state"), chosen.files, chosen.rounds))


def plant(root: Path, files: int) -> None:
    for first in range(0, files, FOLDER_FILES):
        folder = root / f"{first // FOLDER_FILES // 100:03d}" / f"album {first // FOLDER_FILES % 100:03d}"
        folder.mkdir(parents=True)
        for number in range(first, min(files, first + FOLDER_FILES)):
            (folder / f"IMG_{number:07d}.jpg").touch()


async def contest(root: Path, state: Path, files: int, rounds: int) -> None:
    store = await StoreThread.open(state)
    edge = ThreadPoolExecutor(4)
    events: list[e.Event] = []
    try:
        folder = Folder(os.fsencode(root))
        await fill(store, folder)
        before_kib, walls, cpus = peak_kib(), [], []
        for _ in range(rounds):
            find = timed_find(root)
            ours = await timed_rescan(store, folder, edge, events)
            walls.append(ours[0] / find[0])
            cpus.append(ours[1] / find[1])
            print(f"find {find[0]:.2f} s ({find[1]:.2f} s CPU), rescan {ours[0]:.2f} s ({ours[1]:.2f} s CPU)")
        told = [event for event in events if not isinstance(event, e.ScanStarted | e.ScanFinished)]
        print(f"{files} known files: wall {spread(walls)}, CPU {spread(cpus)} times find")
        print(f"events: {len(told)}, peak memory grew by {(peak_kib() - before_kib) / 1024:.1f} MiB")
    finally:
        edge.shutdown()
        await store.close()


async def fill(store: StoreThread, folder: Folder) -> None:
    """Let the store know every file as done."""
    records = []
    for piece in walk(folder, True, lambda path: False, lambda path, error: None):
        for seen in piece:
            if seen.kind is Kind.REGULAR:
                ref = FileRef(folder.root, seen.path)
                records.append(SaveFile(FileRecord(ref, seen.identity, JobState.DONE, sha256="ab" * 32)))
        if len(records) >= COMMIT_ROWS:
            await store.commit(records)
            records = []
    await store.commit(records)


def timed_find(root: Path) -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    began_s, before = time.monotonic(), os.times()
    subprocess.run(["find", root, "-printf", "%p %D %i %s %T@\\n"], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began_s, used_s


async def timed_rescan(
    store: StoreThread, folder: Folder, edge: ThreadPoolExecutor, events: list[e.Event]
) -> tuple[float, float]:
    watch = Watch(folder.root)
    known = Watched(watch, PathRules.of(watch), folder)
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        scans = Scans(
            events.append,
            tasks,
            lambda call: asyncio.get_running_loop().run_in_executor(edge, call),
            store=store,
            log=Log("text"),
            watcher=None,
            has_room=lambda: True,
            patient=True,
        )
        scans.whole(known, "")
    return time.monotonic() - began_s, time.process_time() - began_cpu_s


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def peak_kib() -> int:
    """Highest resident memory so far (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    main()
