"""Short words for tests of estimates: files that were probed, and jobs that taught something of them."""

from __future__ import annotations

from hypothesis import strategies as st

from imgoptd.core.costs import predict
from imgoptd.core.estimate import (
    MIB,
    Estimator,
)
from imgoptd.core.evidence import WINDOW
from imgoptd.core.model import Effort, FileRecord, FileRef, Identity, ImageFacts, JobState

PHOTO = ImageFacts("jpeg", 4000, 3000, channels=3)
ICON = ImageFacts("jpeg", 64, 64, channels=3)
ALICE, BOB = 1000, 1001
IDLE = 30 * MIB

thousandths = st.lists(st.integers(-1386, 1386), max_size=WINDOW)


def probed(facts: ImageFacts = PHOTO, size: int = 5 * MIB, uid: int = ALICE) -> FileRecord:
    return FileRecord(FileRef(b"/srv", b"a"), Identity(1, 1, size, 1), JobState.QUEUED, facts=facts, uid=uid)


def icon(uid: int = ALICE) -> FileRecord:
    return probed(ICON, 1000, uid)


def table(record: FileRecord) -> float:
    """Bytes that the table of costs says."""
    return predict(record).memory_bytes


def teach(estimator: Estimator, record: FileRecord, *ratios: float) -> None:
    """Jobs that took so many times what the table says, in memory and CPU seconds."""
    raw = predict(record)
    for ratio in ratios:
        peak = int(IDLE + ratio * raw.memory_bytes)
        estimator.learn(record, Effort(cpu_s=ratio * raw.cpu_s, peak_bytes=peak), IDLE)


def factor(estimator: Estimator, record: FileRecord) -> float:
    return estimator.estimate(record).memory_bytes / table(record)
