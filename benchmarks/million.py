"""`python -m benchmarks.million [--files N] [--minutes M] [--pure]`: the daemon with a million files queued.

A store that holds every file as queued, and the files themselves, are made on a filesystem of their own (a loop mount,
where root may make one). A real daemon then works on them for some minutes while files are dropped amid; measured are
the engine's part of each turn, the daemon's memory, and how long a drop takes until it is done. `--pure` drives the
engine alone, with every job in its backlog at once and workers that answer at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import tests.images
from benchmarks.million_engine import percentile, pure, tell_turns
from imgoptd.adapters.store import Store
from imgoptd.core.commands import BaselineTaken, SaveFile
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState

FOLDER_FILES = 1000
PICTURES = 16
"""Different ones; a comment makes each file a content of its own."""
COMMENT = 0xFE
"""The marker of a JPEG's comment segment."""
COMMIT_ROWS = 10_000
BYTES_EACH = 6144
"""Of the filesystem: a block and an inode for each file, and room for results beside them."""
DROP_EVERY_S = 0.5
SAMPLE_S = 1.0
TURN_MOST_S, MEMORY_MOST_BYTES = 0.005, 200 << 20
"""What is asked for."""


class Seen(NamedTuple):
    """What was seen from outside while the daemon worked."""

    drops_s: list[float]
    """From the end of writing to `done` in the log."""
    lost: int
    """Drops that were not done when the time was over."""
    pss_bytes: int
    rss_bytes: int
    """The highest of the daemon's own process."""
    done: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=3.0)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--pure", action="store_true", help="the engine alone")
    kind.add_argument("--flood", action="store_true", help="all files are dropped while the daemon runs")
    parser.add_argument("--scratch", help="where to make the files (default: the temporary folder)")
    chosen = parser.parse_args()
    if chosen.pure:
        return pure(chosen.files, chosen.minutes * 60.0)
    with (
        tempfile.TemporaryDirectory(prefix="imgoptd-bench-", dir=chosen.scratch) as scratch,
        filesystem(Path(scratch), chosen.files) as folder,
    ):
        began_s = time.monotonic()
        configure(folder)
        if not chosen.flood:
            plant(folder, chosen.files)
            print(f"{chosen.files} files planted in {time.monotonic() - began_s:.0f} s", flush=True)
        seen = work(folder, chosen.minutes * 60.0, chosen.files if chosen.flood else 0)
        return tell(folder, seen)


# ---- before ---------------------------------------------------------------------------------------------------------


@contextmanager
def filesystem(scratch: Path, files: int) -> Iterator[Path]:
    """A folder on an ext4 of its own, gone at once with all its files; for others than root a plain one."""
    if os.geteuid() != 0:
        yield scratch
        return
    image, folder = scratch / "image", scratch / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(files * BYTES_EACH + (1 << 30))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(files + files // 8 + 10_000), image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def configure(scratch: Path) -> None:
    """The watched folder, whose first scan is done, and its configuration."""
    watched = scratch / "watched"
    watched.mkdir()
    store = Store.open(scratch / "state")
    store.commit([BaselineTaken(os.fsencode(watched))])
    store.close()
    (scratch / "imgoptd.toml").write_text(
        f'[daemon]\nstate_dir = "{scratch}/state"\ncontrol = "{scratch}/control.sock"\nlog = "text"\n'
        f'[[watch]]\npath = "{watched}"\nsettle = "100ms"\n'
    )


def plant(scratch: Path, files: int) -> None:
    """The files, and a store in which each waits since a scan found it."""
    watched, records = scratch / "watched", list[SaveFile]()
    root = os.fsencode(watched)
    store = Store.open(scratch / "state")
    for name, status in write(watched, files):
        identity = Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        records.append(SaveFile(FileRecord(FileRef(root, name.encode()), identity, JobState.QUEUED, uid=status.st_uid)))
        if len(records) == COMMIT_ROWS:
            store.commit(records)
            records.clear()
    store.commit(records)
    store.close()


def write(watched: Path, files: int) -> Iterator[tuple[str, os.stat_result]]:
    kinds = pictures()
    for number in range(files):
        if number % FOLDER_FILES == 0:
            (watched / f"{number // FOLDER_FILES:04}").mkdir()
        name = f"{number // FOLDER_FILES:04}/{number % FOLDER_FILES:03}.jpg"
        descriptor = os.open(watched / name, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, numbered(kinds, number))
        status = os.fstat(descriptor)
        os.close(descriptor)
        yield name, status


def pictures() -> list[bytes]:
    return [tests.images.jpeg(tests.images.photo(32, 24, seed)) for seed in range(PICTURES)]


def numbered(kinds: Sequence[bytes], number: int) -> bytes:
    return tests.images.with_segment(kinds[number % PICTURES], COMMENT, b"%d" % number)


# ---- meanwhile ------------------------------------------------------------------------------------------------------


class Ends:
    """Reads the daemon's log in a thread: when each drop was done, and how many files were."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.at_s: dict[str, float] = {}
        self.done = 0
        self.ready = threading.Event()
        self._process = process
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if b" ready: " in line:
                self.ready.set()
            elif b" done /" in line or b" skipped /" in line:
                self.done += 1
                if b"/drop-" in line:
                    self.at_s[os.fsdecode(line.split(b"/drop-")[1].split(b".")[0])] = time.monotonic()

    def join(self) -> None:
        self._thread.join()


def flood(watched: Path, files: int) -> None:
    """Write them as fast as can be."""
    began_s = time.monotonic()
    for _ in write(watched, files):
        pass
    print(f"{files} files dropped in {time.monotonic() - began_s:.0f} s", flush=True)


def work(scratch: Path, duration_s: float, flooding: int) -> Seen:
    """Let the daemon work for so long, and drop a file now and then; so many come as a flood beside."""
    command = [sys.executable, "-m", "benchmarks.million_engine", str(scratch)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    ends = Ends(process)
    written_s: dict[str, float] = {}
    pss = rss = 0
    kinds = [tests.images.jpeg(tests.images.photo(240, 180, seed)) for seed in range(PICTURES)]
    began_s = sampled_s = time.monotonic()
    writer = threading.Thread(target=flood, args=(scratch / "watched", flooding))
    try:
        if flooding:
            ends.ready.wait(60)
            writer.start()
        while time.monotonic() - began_s < duration_s and process.poll() is None:
            if ends.ready.is_set():
                name = str(len(written_s))
                (scratch / "watched" / f"drop-{name}.jpg").write_bytes(numbered(kinds, len(written_s)))
                written_s[name] = time.monotonic()
            if time.monotonic() - sampled_s >= SAMPLE_S:
                sampled_s = time.monotonic()
                now_pss, now_rss = memory(process.pid)
                pss, rss = max(pss, now_pss), max(rss, now_rss)
            time.sleep(DROP_EVERY_S)
        time.sleep(2.0)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        ends.join()
        if flooding:
            writer.join()
    drops_s = [ends.at_s[name] - since_s for name, since_s in written_s.items() if name in ends.at_s]
    return Seen(drops_s, len(written_s) - len(drops_s), pss, rss, ends.done)


def memory(pid: int) -> tuple[int, int]:
    """PSS and RSS of a process, in bytes; 0 where it has gone."""
    found = {"Pss:": 0, "Rss:": 0}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            words = line.split()
            if words[0] in found:
                found[words[0]] = int(words[1]) * 1024
    except OSError:
        return 0, 0
    return found["Pss:"], found["Rss:"]


# ---- afterwards -----------------------------------------------------------------------------------------------------


def tell(scratch: Path, seen: Seen) -> int:
    """Print the figures; 0 if they are as asked for."""
    turns, cpu_turns = array("d"), array("d")
    turns.frombytes((scratch / "turns").read_bytes())
    cpu_turns.frombytes((scratch / "cpu_turns").read_bytes())
    tell_turns("wall", turns)
    p99_s = tell_turns("CPU", cpu_turns)
    print(f"daemon's memory at most: PSS {seen.pss_bytes / 2**20:.0f} MiB, RSS {seen.rss_bytes / 2**20:.0f} MiB")
    print(f"files done: {seen.done}; drops done {len(seen.drops_s)}, not in time {seen.lost}")
    if seen.drops_s:
        median_s, late_s = statistics.median(seen.drops_s), percentile(seen.drops_s, 0.99)
        print(f"a drop until it was done: p50 {median_s:.2f} s, p99 {late_s:.2f} s, most {max(seen.drops_s):.2f} s")
    return 0 if p99_s <= TURN_MOST_S and seen.pss_bytes <= MEMORY_MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
