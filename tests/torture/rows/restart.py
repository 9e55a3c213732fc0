"""From kill -9 to work: a daemon is started with 10,000 queued files, and killed again at its first result."""

from __future__ import annotations

import os
import time
from pathlib import Path

from imgoptd.adapters.store import Store
from imgoptd.core.commands import BaselineTaken, Record, SaveFile
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState
from tests import images
from tests.harness import Daemon, unique
from tests.torture.report import Report

NAME = "restart"
ASKS = "restart to working: p99 at most 2 s with 10,000 queued"

QUEUED = 10_000
AIM_S = 2.0
LONGEST_S = 60.0


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    """The program itself is started, with all its imports; alone on the machine. The seed says nothing here."""
    end = time.monotonic() + seconds
    report = Report()
    for queued, share in ((0, 0.2), (QUEUED, 1.0)):
        took = starts(queued, time.monotonic() + (end - time.monotonic()) * share, rounds, report)
        report.rounds += len(took)
        report.figures[f"spawn to first result, {queued} queued"] = _figures(took)
        if queued and took and (p99 := _percentile(took, 0.99)) > AIM_S:
            report.fail(f"p99 {p99:.2f} s of {len(took)} starts with {queued} queued")
    return report


def starts(queued: int, until_s: float, rounds: int | None, report: Report) -> list[float]:
    """Seconds from spawn to the first result, of each start."""
    took: list[float] = []
    with Daemon() as daemon:
        _queue(daemon, queued)
        while time.monotonic() < until_s and (rounds is None or len(took) < rounds):
            if not queued:
                (daemon.watched / f"{len(took)}.jpg").write_bytes(_content(len(took)))
            said = len(daemon.read_log())
            born = time.monotonic()
            daemon.spawn()
            while (done := daemon.read_log().find("done ", said)) < 0 and time.monotonic() - born < LONGEST_S:
                time.sleep(0.005)
            took.append(time.monotonic() - born)
            daemon.kill()
            if done < 0:
                report.fail(f"nothing done within {LONGEST_S:.0f} s of a start with {queued} queued")
                break
    return took


def _queue(daemon: Daemon, number: int) -> None:
    """As a killed daemon leaves them: the folder known, each file a queued row."""
    root = os.fsencode(daemon.watched)
    records: list[Record] = [BaselineTaken(root)]
    for index in range(number):
        path = daemon.watched / f"{index:05}.jpg"
        path.write_bytes(_content(index))
        records.append(SaveFile(FileRecord(FileRef(root, os.fsencode(path.name)), _identity(path), JobState.QUEUED)))
    store = Store.open(daemon.base / "state")
    store.commit(records)
    store.close()


def _identity(path: Path) -> Identity:
    status = path.stat()
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


_SMALL = images.jpegs()["thumbnail.jpg"]


def _content(number: int) -> bytes:
    return unique(_SMALL, f"content {number}")


def _percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _figures(took: list[float]) -> str:
    if not took:
        return "none"
    parts = (f"{name} {_percentile(took, share):.2f} s" for name, share in (("median", 0.5), ("p99", 0.99)))
    return f"{', '.join(parts)}, most {max(took):.2f} s, of {len(took)} starts"
