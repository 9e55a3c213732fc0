"""The measured engine of `benchmarks.million`: inside a real daemon, or alone with workers that answer at once."""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from imgoptd.adapters.journald import Log
from imgoptd.config.load import load
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import (
    Effort,
    Failure,
    FailureKind,
    FileKind,
    FileRecord,
    FileRef,
    HintKind,
    Identity,
    ImageFacts,
    JobState,
    Lease,
    Look,
    Outcome,
    Verdict,
)
from imgoptd.core.policy import FolderPolicy
from imgoptd.daemon.garbage import Garbage
from imgoptd.daemon.service import Service

ROOT = b"/srv/photos"
SETTLE_S = 0.001
GIB = 1 << 30
LOAD_EVENTS = 2000
DROP_EVERY = 50
"""Turns between two fresh drops."""
SENSE_EVERY = 100
KEPT = Failure(FailureKind.REJECTED, "not-smaller", "no smaller result was found")


@dataclass(frozen=True, slots=True)
class Spent:
    wall_s: float
    cpu_s: float
    """Of this thread: what others take of a busy machine is not in it."""

    @staticmethod
    def until_now() -> Spent:
        return Spent(time.perf_counter(), time.thread_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


class Timed(Engine):
    """Adds up what each turn takes, from its first event to its last command."""

    def __init__(self) -> None:
        super().__init__()
        self.turns, self.cpu_turns = array("d"), array("d")
        self._spent = Spent(0.0, 0.0)

    def handle(self, event: e.Event, now_s: float) -> list[c.Command]:
        began = Spent.until_now()
        commands = super().handle(event, now_s)
        self._spent += Spent.until_now() - began
        return commands

    def end_turn(self, now_s: float) -> list[c.Command]:
        began = Spent.until_now()
        commands = super().end_turn(now_s)
        self._spent += Spent.until_now() - began
        self.turns.append(self._spent.wall_s)
        self.cpu_turns.append(self._spent.cpu_s)
        self._spent = Spent(0.0, 0.0)
        return commands


def tell_turns(what: str, turns: Sequence[float]) -> float:
    """Print the figures; the 99th percentile, in seconds."""
    p50, p99, most = statistics.median(turns) * 1e3, percentile(turns, 0.99) * 1e3, max(turns) * 1e3
    print(f"engine turns, {what}: {len(turns)}, p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {most:.1f} ms")
    return p99 / 1e3


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# ---- in a real daemon -----------------------------------------------------------------------------------------------


def main() -> None:
    """Run the daemon of that scratch folder until it is told to stop, then leave what its turns took."""
    scratch = Path(sys.argv[1])
    config = load(scratch / "imgoptd.toml")
    Garbage.begin()
    engine = Timed()
    log = Log(config.daemon.log)
    try:
        asyncio.run(Service(config, log, once=False, engine=engine).run())
    finally:
        log.close()
        (scratch / "turns").write_bytes(engine.turns.tobytes())
        (scratch / "cpu_turns").write_bytes(engine.cpu_turns.tobytes())


# ---- alone ----------------------------------------------------------------------------------------------------------


class Alone:
    """Answers what the engine asks for, at once and as well as can be; sixteen workers, one owner."""

    def __init__(self) -> None:
        self.engine = Timed()
        self.events: list[e.Event] = []
        self.fresh: set[FileRef] = set()
        self.waited_turns: list[int] = []
        self._dropped_at: dict[FileRef, int] = {}
        self._turn = 0
        self.done = 0

    def turn(self, now_s: float) -> None:
        events, self.events = self.events, []
        self._turn += 1
        commands = [command for event in events for command in self.engine.handle(event, now_s)]
        for command in (*commands, *self.engine.end_turn(now_s)):
            self._answer(command)

    def drop(self, ref: FileRef) -> None:
        self._dropped_at[ref] = self._turn
        self.events.append(e.Hinted(ref, HintKind.MOVED))

    def _answer(self, command: c.Command) -> None:
        match command:
            case c.LookAt(ref):
                look = Look(FileKind.REGULAR, identity(ref), uid=1000, mode=0o100644, lease=Lease.GRANTED)
                self.events.append(e.Looked(ref, look, None))
            case c.StartWorker(worker):
                self.events.append(e.WorkerStarted(worker, 100 + worker, 20 << 20))
            case c.RetireWorker(worker):
                self.events.append(e.WorkerExited(worker, 0))
            case c.SendProbe(worker, ref):
                number = int(ref.path[-11:-4])
                facts = ImageFacts("jpeg", 400 + number % 4000, 300 + number % 3000, channels=3)
                self.events += [e.TaskStarted(worker, ref), e.Probed(worker, ref, facts, None)]
            case c.SendJob(worker, ref):
                outcome = Outcome(Verdict.KEPT, failure=KEPT, effort=Effort(0.05, 0.05, 40 << 20))
                self.events += [e.TaskStarted(worker, ref, "ab" * 32), e.Finished(worker, ref, outcome)]
                self.done += 1
                if ref in self._dropped_at:
                    self.waited_turns.append(self._turn - self._dropped_at.pop(ref))


def identity(ref: FileRef) -> Identity:
    number = int(ref.path[-11:-4])
    return Identity(1, number, 20_000 + number % 3_000_000, 1_700_000_000_000_000_000)


def pure(files: int, duration_s: float) -> int:
    """Print what turns take with so many jobs in the backlog; 0 if it is as asked for."""
    alone = Alone()
    alone.engine.jobs.overflow.most = {False: files, True: files}  # all in memory: that is what is measured
    folder = FolderPolicy(ROOT, settle_s=SETTLE_S)
    alone.events = [
        e.Sensed(64 * GIB, 64 * GIB, cpus=16, others_cpus=0.0),
        e.Configured(1, (folder,), 0, 16, 300.0),
        e.FolderFound(ROOT),
        e.PauseAsked(),
    ]
    began_s = time.perf_counter()
    names = (FileRef(ROOT, b"%04d/%07d.jpg" % (number // 1000, number)) for number in range(files))
    while piece := list(islice(names, LOAD_EVENTS)):
        alone.events += [e.Recovered(FileRecord(ref, identity(ref), JobState.QUEUED, uid=1000)) for ref in piece]
        while alone.events or alone.engine.intake.settler.candidates:
            alone.turn(time.perf_counter())
            time.sleep(SETTLE_S)
    queued = alone.engine.jobs.backlog.jobs
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{queued} jobs queued in {time.perf_counter() - began_s:.0f} s, {gib:.2f} GiB")
    return _work(alone, duration_s)


def _work(alone: Alone, duration_s: float) -> int:
    alone.events.append(e.ResumeAsked())
    del alone.engine.turns[:], alone.engine.cpu_turns[:]
    until_s, number = time.perf_counter() + duration_s, 9_000_000
    while time.perf_counter() < until_s and alone.engine.jobs.backlog.jobs:
        number += 1
        if number % DROP_EVERY == 0:
            alone.drop(FileRef(ROOT, b"drop-%07d.jpg" % number))
        if number % SENSE_EVERY == 0:
            alone.events.append(e.Sensed(64 * GIB, 64 * GIB, cpus=16, others_cpus=0.0))
        alone.turn(time.perf_counter())
    print(f"{alone.done} jobs done")
    tell_turns("wall", alone.engine.turns)
    p99_s = tell_turns("CPU", alone.engine.cpu_turns)
    waited = alone.waited_turns
    if waited:
        print(f"turns from a drop to its job: p50 {statistics.median(waited):.0f}, p99 {percentile(waited, 0.99):.0f}")
    return 0 if p99_s <= 0.005 else 1


if __name__ == "__main__":
    main()
