"""Files that come in by every way that programs know, some of them over what stands there already."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon
from tests.torture import material
from tests.torture.crowd import Actor, crowd
from tests.torture.ledger import Ledger, Pace, left_unfinished, temps_below
from tests.torture.proof import FINE, Content, Life, Truth, judge, newest_or_its_result
from tests.torture.report import Report, say
from tests.torture.ways_in import OVER, WAYS, Scene, missing_tools

NAME = "arrivals"
ASKS = "trees moved in, mkdir -p && cp, rsync in all modes, editor saves, moves, archives: 0 missed, 0 read too early"

AT_ONCE = 6
FILES_A_WAY = 12
BEHIND = 1500
"""Files that the daemon may be behind before the next ones come."""
TAIL_S = 12.0


@dataclass(slots=True)
class Arrival:
    way: str
    number: int
    data: bytes
    truth: Truth


@dataclass(slots=True)
class Traffic:
    watched: Path
    scene: Scene
    dice: random.Random
    ends_s: float
    limit: int | None
    arrivals: dict[bytes, Arrival] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=missing_tools)
    batches: int = 0

    def hire(self) -> Actor | None:
        made = len(self.arrivals)
        if time.monotonic() >= self.ends_s or (self.limit is not None and made >= self.limit):
            return None
        most = FILES_A_WAY if self.limit is None else min(FILES_A_WAY, self.limit - made)
        ways = [way for way in (*WAYS, *OVER) if way not in self.without]
        return self._batch(self.dice.choice(ways), self.dice.randint(1, most))

    def _batch(self, way: str, count: int) -> Actor:
        self.batches += 1
        folder = self.watched / f"{self.batches}"
        if self.dice.random() < 0.5:
            folder = folder / "b" / "c"
        names = [f"{way.split()[0]}-{len(self.arrivals) + at}.img" for at in range(count)]
        for name in names:
            key = os.fsencode((folder / name).relative_to(self.watched))
            # What a worker says of a file that is written over under its hands is no proof: how it ends is.
            self.arrivals[key] = Arrival(way, 0, b"", Truth(picture=way not in OVER))
        if way in OVER:
            WAYS["makedirs and write"](self.scene, folder, self._new(folder, names))
            yield self.dice.choice((0.0, 0.05, 0.3, 1.0)) * self.dice.random()
            OVER[way](self.scene, folder, self._new(folder, names))
        else:
            WAYS[way](self.scene, folder, self._new(folder, names))
        yield 0.0

    def _new(self, folder: Path, names: list[str]) -> dict[str, bytes]:
        made = {}
        for name in names:
            arrival = self.arrivals[os.fsencode((folder / name).relative_to(self.watched))]
            arrival.number = self.dice.getrandbits(60)
            made[name] = arrival.data = material.picture(self.dice, arrival.number, self.dice.choice((0, 0, 0, 30_000)))
            arrival.truth.contents.append(Content.of(arrival.data))
        return made


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    report = Report()
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        with Daemon() as daemon:
            daemon.start()
            outside = daemon.base / "outside"
            outside.mkdir()
            ends_s = time.monotonic() + max(seconds * 0.5, seconds - TAIL_S)
            traffic = Traffic(daemon.watched, Scene(outside, elsewhere), random.Random(seed), ends_s, rounds)
            ledger = Ledger(daemon)
            pace = Pace(ledger, BEHIND)
            crowd(traffic.hire, AT_ONCE, lambda: pace.keep(len(traffic.arrivals)))
            _count(report, traffic, ledger, seed)
    finally:
        shutil.rmtree(elsewhere)
    say(f"{NAME}: {report.rounds} files")
    return report


def _count(report: Report, traffic: Traffic, ledger: Ledger, seed: int) -> None:
    missed = left_unfinished(ledger, traffic.arrivals)
    lives = ledger.lives()
    made: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    misjudged = 0
    for path, arrival in traffic.arrivals.items():
        signs = ["missed: it never ended"] if path in missed else []
        if path in lives:
            signs += judge(lives[path], arrival.truth)
            signs += [f"it ended as {lives[path].reason}"] if lives[path].reason not in FINE else []
            misjudged += any(step.step == "quarantined" for step in lives[path].steps)
        signs += _damage(traffic.watched / os.fsdecode(path), lives.get(path), arrival)
        made[arrival.way] += 1
        failed[arrival.way] += bool(signs)
        if signs:
            report.fail(f"seed {seed}, {os.fsdecode(path)}, by {arrival.way}: {'; '.join(signs)}")
    for path in lives.keys() - traffic.arrivals.keys():
        if lives[path].reason != "vanished":
            report.fail(f"seed {seed}: a passing name was worked on: {os.fsdecode(path)}: {lives[path]}")
    for temp in temps_below(traffic.watched):
        report.fail(f"seed {seed}: left behind: {temp}")
    report.rounds = len(traffic.arrivals)
    report.figures["called damaged while written over, and right in the end"] = str(misjudged)
    for way in sorted(made):
        report.figures[way] = f"{made[way]} files, {failed[way]} of them failed"
    report.figures |= {way: f"not here: {reason}" for way, reason in traffic.without.items()}
    ended = Counter(f"{lives[path].state} {lives[path].reason}" for path in traffic.arrivals if path in lives)
    report.figures["how they ended"] = ", ".join(f"{how}: {number}" for how, number in ended.most_common())


def _damage(path: Path, life: Life | None, arrival: Arrival) -> list[str]:
    """By what the daemon's receipts say, and of some by looking at the picture."""
    data = path.read_bytes()
    if life is not None and not newest_or_its_result(data, life, arrival.truth.contents[-1]):
        return ["the newest content does not stand at the path, nor what was made of it"]
    if arrival.number % 8 == 0 and (damage := material.damage(data, arrival.data, arrival.number)):
        return [damage]
    return []
