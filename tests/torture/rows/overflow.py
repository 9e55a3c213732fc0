"""More files than the kernel's queue of events holds, by far: it is made 16 events long for the daemon, and flooded.

Most files are read-only or empty, so that they end without a worker; among them are texts and pictures. The setting is
the machine's: it is changed just while the daemon opens its queue, and put back whatever happens.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon, eventually
from tests.torture import material
from tests.torture.ledger import Ledger, Pace, left_unfinished
from tests.torture.report import CannotRun, Report, say

NAME = "overflow"
ASKS = (
    "files created by the hundred thousand with a queue of 16 events, also in 1,000 folders: 0 missed, later ones heard"
)

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
QUEUED_EVENTS = 16
FOLDERS = 1000
BURST = 2000
"""Files that are made as fast as it goes."""
BEHIND_A_SECOND = 300
"""Files that the daemon may be behind, for each second that the row may take."""
LATER = 40
HEARD_S = 30.0
"""The longest time in which none of them is heard."""


@dataclass(slots=True)
class Flood:
    folder: Path
    dice: random.Random
    folders: list[bytes] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        top = os.fsencode(self.folder)
        self.folders = [top, *(os.path.join(top, b"%02d/%04d" % (number % 32, number)) for number in range(FOLDERS))]

    def burst(self, count: int) -> list[bytes]:
        """Files one after the other, in one folder or spread over all; their paths."""
        spread = self.dice.random() < 0.6
        at = self.dice.choice(self.folders)
        paths = []
        for _ in range(count):
            at = self.dice.choice(self.folders) if spread else at
            os.makedirs(at, exist_ok=True)
            paths.append(os.path.join(at, b"%08d.jpg" % self.made))
            self._file(paths[-1])
            self.made += 1
        return paths

    def _file(self, path: bytes) -> None:
        kind = self.dice.random()
        data, mode = b"", 0o644
        if kind < 0.6:
            data, mode = b"%d" % self.made, 0o444
        elif kind < 0.61:
            data = material.picture(self.dice, self.made)
        elif kind < 0.63:
            data = b"no picture, %d" % self.made
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        os.write(descriptor, data)
        os.close(descriptor)


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    report = Report()
    with Daemon() as daemon:
        began_s = time.monotonic()
        with short_queue():
            daemon.spawn()
            eventually(lambda: _listens(daemon), 20, "the daemon opens its queue of events")
        eventually(daemon.answers, 20, "the daemon answers")
        flood, ledger = Flood(daemon.watched, random.Random(seed)), Ledger(daemon)
        pace = Pace(ledger, int(BEHIND_A_SECOND * min(seconds, 200)))
        while time.monotonic() - began_s < seconds * 0.6 and (rounds is None or flood.made < rounds):
            flood.burst(min(BURST, (rounds or BURST + flood.made) - flood.made))
            pace.keep(flood.made, patience_s=seconds)
        made_s = time.monotonic() - began_s
        missed = left_unfinished(ledger, _files(daemon.watched), patience_s=60)
        done_s = time.monotonic() - began_s
        for path in sorted(missed)[:50]:
            report.fail(f"seed {seed}: missed: {os.fsdecode(path)}")
        _hear_later_ones(report, flood, ledger, f"seed {seed}")
        report.rounds = flood.made
        overflows = daemon.read_log().count("is scanned again")
        report.figures["rescans that the log tells of"] = str(overflows)
        report.figures["all made and done"] = (
            f"after {made_s:.0f} s and {done_s:.0f} s ({flood.made / done_s:.0f} a second)"
        )
        if not overflows:
            report.fail(f"seed {seed}: the queue never overflowed: nothing was tried")
    say(f"{NAME}: {report.rounds} files, {len(report.failures)} failures")
    return report


def _hear_later_ones(report: Report, flood: Flood, ledger: Ledger, label: str) -> None:
    """One by one, so that none of them overflows anything."""
    made_ms: dict[bytes, float] = {}
    for _ in range(LATER):
        [path] = flood.burst(1)
        made_ms[os.path.relpath(path, os.fsencode(flood.folder))] = time.time() * 1000
        time.sleep(0.05)
    for path in left_unfinished(ledger, made_ms, patience_s=HEARD_S):
        report.fail(f"{label}: {HEARD_S:g} s after the flood nothing more is heard: {os.fsdecode(path)}")
    steps_ms = {path: ledger.first_step_ms(path) for path in made_ms}
    took_s = sorted((step - made_ms[path]) / 1000 for path, step in steps_ms.items() if step is not None)
    if took_s:
        report.figures["later files heard after"] = (
            f"{took_s[len(took_s) // 2]:.1f} s (median), {took_s[-1]:.1f} s (max)"
        )


def _files(folder: Path) -> list[bytes]:
    top = os.fsencode(folder)
    return [os.path.relpath(os.path.join(at, name), top) for at, _, names in os.walk(top) for name in names]


@contextmanager
def short_queue() -> Iterator[None]:
    """A queue opened within is short. Raises CannotRun where the setting cannot be changed."""
    before = QUEUE.read_text()
    try:
        QUEUE.write_text(str(QUEUED_EVENTS))
    except OSError as error:
        raise CannotRun(f"{QUEUE} cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        QUEUE.write_text(before)


def _listens(daemon: Daemon) -> bool:
    assert daemon.process is not None
    opened = Path(f"/proc/{daemon.process.pid}/fd")
    return any(os.readlink(link) == "anon_inode:inotify" for link in opened.iterdir() if link.is_symlink())
