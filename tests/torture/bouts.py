"""A file and somebody who changes it while the daemon works on it: one bout. What stands there in the end decides."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon
from tests.torture import material
from tests.torture.crowd import Actor, crowd
from tests.torture.ledger import Ledger, Pace, left_unfinished, temps_below
from tests.torture.proof import FINE, Content, Truth, judge
from tests.torture.report import Report, say

AT_ONCE = 5
"""Few, so that a job follows soon on its drop and a short wait may end within it."""
BEHIND = 40
BATCH = 400
"""Bouts after which everything is looked at."""
TAIL_S = 8.0


@dataclass(slots=True)
class Bout:
    path: Path
    number: int
    """The mark of the content that must stand in the end."""
    data: bytes
    """That content."""
    kind: str
    truth: Truth = field(default_factory=lambda: Truth(picture=False))
    """What a worker says of a file that changes under its hands is no proof: how it ends is."""
    tail: bytes = b""
    """What was appended, where something was."""
    note: str = ""
    """What came about, where that is worth counting."""

    def now_holds(self, data: bytes, number: int) -> None:
        """The newest content, complete from now on."""
        self.data, self.number = data, number
        self.truth.contents.append(Content.of(data))


@dataclass(slots=True)
class Ring:
    folder: Path
    staged: Path
    dice: random.Random
    number: int = 0

    def mark(self) -> int:
        self.number += 1
        return self.dice.getrandbits(60)

    def picture(self, number: int, *, jpeg: bool = False) -> bytes:
        """Most are done in some milliseconds, some take a worker longer."""
        bases = material.slow_bases()
        if self.dice.random() < 0.35:
            return material.marked(bases[0] if jpeg else self.dice.choice(bases), number)
        return material.picture(self.dice, number, 3000 if jpeg else 0)

    def drop(self, path: Path, data: bytes) -> None:
        if self.dice.random() < 0.5:
            path.write_bytes(data)
        else:
            self.rename_over(path, data)

    def rename_over(self, path: Path, data: bytes) -> None:
        staged = self.staged / path.name
        staged.write_bytes(data)
        staged.replace(path)

    def moment_s(self) -> float:
        """A random moment of a job, or somewhat before or after it."""
        return self.dice.uniform(0, self.dice.choice((0.01, 0.04, 0.1, 0.4)))


Opening = Generator[float, None, int]
"""Like an actor; brings back a descriptor."""
Fight = Callable[[Ring, Bout], Actor]
"""Drops a file at `bout.path` and does something to it."""


def run(name: str, fights: Mapping[str, Fight], seconds: float, seed: int, rounds: int | None) -> Report:
    report = Report()
    made: Counter[str] = Counter()
    with Daemon(settle="50ms") as daemon:
        daemon.start()
        staged = daemon.base / "staged"
        staged.mkdir()
        dice = random.Random(seed)
        ends_s = time.monotonic() + max(seconds * 0.6, seconds - TAIL_S)
        while time.monotonic() < ends_s and (rounds is None or report.rounds < rounds):
            folder = daemon.watched / str(report.rounds)
            folder.mkdir()
            size = BATCH if rounds is None else min(BATCH, rounds - report.rounds)
            bouts = _fight(Ring(folder, staged, dice), fights, size, Ledger(daemon), ends_s)
            _look(report, bouts, Ledger(daemon), f"seed {seed}")
            made.update(bout.kind for bout in bouts)
            made.update(bout.note for bout in bouts if bout.note)
            report.rounds += len(bouts)
            say(f"{name}: {report.rounds} bouts, {len(report.failures)} failures")
        for left in temps_below(daemon.watched):
            if "imgoptd-kept-" not in left:
                report.fail(f"seed {seed}: left behind: {left}")
        kept = sum("imgoptd-kept-" in left for left in temps_below(daemon.watched))
        report.figures["versions kept beside a file"] = str(kept)
    report.figures |= {kind: f"{number} bouts" for kind, number in sorted(made.items())}
    return report


def _fight(ring: Ring, fights: Mapping[str, Fight], size: int, ledger: Ledger, ends_s: float) -> list[Bout]:
    bouts: list[Bout] = []
    pace, before = Pace(ledger, BEHIND), ledger.finished()

    def hire() -> Actor | None:
        if len(bouts) == size or time.monotonic() >= ends_s:
            return None
        kind = ring.dice.choice(sorted(fights))
        bouts.append(Bout(ring.folder / f"{len(bouts):04d}.img", 0, b"", kind))
        return fights[kind](ring, bouts[-1])

    crowd(hire, AT_ONCE, lambda: pace.keep(before + len(bouts)))
    return bouts


def _look(report: Report, bouts: list[Bout], ledger: Ledger, label: str) -> None:
    below = {os.fsencode(bout.path.relative_to(ledger.daemon.watched)): bout for bout in bouts}
    missed = left_unfinished(ledger, below)
    lives = ledger.lives()
    caught = misjudged = 0
    for path, bout in below.items():
        signs = ["missed: it never ended"] if path in missed else []
        if path in lives:
            signs += judge(lives[path], bout.truth)
            caught += any("looked at again" in step.text for step in lives[path].steps)
            misjudged += any(step.step == "quarantined" for step in lives[path].steps)
            fine = {*FINE, "trailer"} if bout.tail else FINE
            signs += [f"it ended as {lives[path].reason}"] if lives[path].reason not in fine else []
        damage = _damage(bout)
        signs += [damage] if damage else []
        if signs:
            steps = [(step.step, step.text) for step in lives[path].steps] if path in lives else []
            report.fail(f"{label}, {os.fsdecode(path)}, {bout.kind}: {'; '.join(signs)}; {steps}")
    _add(report, "caught in the middle of the job", caught)
    _add(report, "called damaged while it changed, and right in the end", misjudged)


def _add(report: Report, figure: str, number: int) -> None:
    report.figures[figure] = str(number + int(report.figures.get(figure, "0")))


def _damage(bout: Bout) -> str:
    data = bout.path.read_bytes()
    if not data.endswith(bout.tail):
        return "what was appended does not stand at the end"
    return material.damage(data[: len(data) - len(bout.tail)], bout.data, bout.number)
