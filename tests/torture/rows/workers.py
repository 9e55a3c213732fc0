"""Workers that are lost one after the other: killed -9, killed by the kernel for want of memory, ended by their file.

The daemon and its workers live in a memory group of version 1. A kill for want of memory is a real one: a neighbour
fills the group until the kernel acts, and the worker chosen stands first in its order.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import psutil

from imgoptd.cli.client import Client
from tests import images
from tests.harness import Daemon, unique
from tests.torture import material
from tests.torture.ledger import Ledger, left_unfinished, temps_below
from tests.torture.memory_group import MIB, entering, exhaust, memory_group, oom_kills
from tests.torture.proof import Life
from tests.torture.report import Report, say

NAME = "workers"
ASKS = (
    "workers killed -9 or OOM-killed in turn, amid poison: 0 jobs lost, poison found in 2 tries, the daemon never down"
)

GROUP_BYTES = 320 * MIB
FILES = 60
"""In a batch, after which everything is looked at."""
POISON_EVERY = 20
LONGEST_PAUSE_S = 0.2
OF_MEMORY = 0.3
"""Of all kills."""
BATCH_S = 120.0
"""Within which a batch must be done, however many workers it costs."""
TRIES = 2


class Batch:
    def __init__(self, folder: Path, dice: random.Random, files: int) -> None:
        folder.mkdir()
        bases = (
            images.jpeg(images.photo(1200, 900, seed=700)),
            images.png(images.photo(250, 200, seed=701)),
            *material.slow_bases(),
        )
        self.folder = folder
        self.poison: dict[bytes, bytes] = {}
        self.photos: dict[bytes, tuple[bytes, int]] = {}
        for number in range(files):
            name = b"%s/%03d.img" % (os.fsencode(folder.name), number)
            if number % POISON_EVERY == 5:
                self.poison[name] = unique(images.jpeg_that_ends_its_codec(), f"poison {dice.getrandbits(60)}")
            else:
                mark = dice.getrandbits(60)
                self.photos[name] = material.marked(dice.choice(bases), mark), mark

    def drop(self) -> None:
        """In the order of the names: poison lies amid the photos."""
        content = {**self.poison, **{name: data for name, (data, _) in self.photos.items()}}
        for name in sorted(content):
            (self.folder.parent / os.fsdecode(name)).write_bytes(content[name])

    def names(self) -> list[bytes]:
        return [*self.photos, *self.poison]


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    report, dice, kinds = Report(), random.Random(seed), Counter[str]()
    slowest_s = 0.0
    with memory_group(GROUP_BYTES) as group, Daemon(settle="50ms") as daemon:
        daemon.run_within(lambda program: entering(group, program))
        daemon.start()
        assert daemon.process is not None
        client, ledger, number = Client(str(daemon.control)), Ledger(daemon), 0
        ends_s = time.monotonic() + max(seconds - 15, seconds * 0.6)
        while time.monotonic() < ends_s and (rounds is None or report.rounds < rounds):
            batch = Batch(daemon.watched / f"{number:04d}", dice, FILES if rounds is None else 2 * rounds)
            batch.drop()
            number += 1
            deadline_s = time.monotonic() + BATCH_S
            while ledger.unfinished(batch.names()) and time.monotonic() < deadline_s:
                time.sleep(dice.uniform(0.0, LONGEST_PAUSE_S))
                kind = _kill_one(daemon, group, dice)
                if kind:
                    report.rounds += 1
                    kinds[kind] += 1
                asked_s = time.monotonic()
                client.status()  # raises where the daemon does not answer
                slowest_s = max(slowest_s, time.monotonic() - asked_s)
            _look(report, batch, ledger, kinds, f"seed {seed}")
            if daemon.process.poll() is not None:
                report.fail(f"seed {seed}: the daemon ended with {daemon.process.returncode}")
                break
            say(f"{NAME}: {report.rounds} workers killed, {len(report.failures)} failures")
        kinds["OOM kills that the kernel counted"] = oom_kills(group)
        left = temps_below(daemon.watched)
        if left:
            report.fail(f"seed {seed}: left behind: {left}")
    report.figures = {what: str(count) for what, count in sorted(kinds.items())}
    report.figures["slowest answer of the daemon"] = f"{slowest_s:.2f} s"
    return report


def _kill_one(daemon: Daemon, group: Path, dice: random.Random) -> str:
    """How a worker was killed; empty where none was there."""
    try:
        workers = daemon.workers()
    except psutil.NoSuchProcess:
        return ""
    if not workers:
        return ""
    victim = dice.choice(workers)
    if dice.random() < OF_MEMORY:
        return "killed for want of memory" if exhaust(group, victim.pid) else ""
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return ""
    return "killed -9"


def _look(report: Report, batch: Batch, ledger: Ledger, kinds: Counter[str], label: str) -> None:
    missed = left_unfinished(ledger, batch.names())
    lives = ledger.lives()
    for name in batch.names():
        life = lives.get(name)
        data = (batch.folder.parent / os.fsdecode(name)).read_bytes()
        if life is None or name in missed:
            sign = "lost: it never ended"
        elif name in batch.poison:
            sign = _wrong_with_poison(life, data == batch.poison[name])
            kinds["poison found"] += not sign
        else:
            sign = _wrong_with_photo(life) or material.damage(data, *batch.photos[name])
            kinds["photos done"] += life.state != "quarantined"
            kinds["photos whose workers were killed twice for want of memory"] += life.state == "quarantined"
        if sign:
            steps = [(step.step, step.text) for step in life.steps] if life else []
            report.fail(f"{label}, {os.fsdecode(name)}: {sign}; {steps}")


def _blamed(life: Life) -> int:
    """Attempts that were told as the file's own fault."""
    return sum("tried once more" in step.text or step.step == "quarantined" for step in life.steps)


def _wrong_with_poison(life: Life, untouched: bool) -> str:
    if not untouched:
        return "poison was changed"
    if life.state != "quarantined":
        return f"poison ended as {life.state}"
    return "" if _blamed(life) == TRIES else f"poison was found in {_blamed(life)} tries"


def _wrong_with_photo(life: Life) -> str:
    """One that two workers in a row were killed over for want of memory looks like poison, and is left as it is."""
    if life.state in ("done", "skipped"):
        return ""
    twice = sum("oom-killed" in step.text for step in life.steps) == TRIES
    return "" if twice else f"a photo ended as {life.state}: {life.reason}"
