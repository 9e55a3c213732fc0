"""The first scan of a folder may see a new file before the watcher tells of it."""

from __future__ import annotations

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileKind, FileRef, HintKind, Identity, JobState, Lease, Look
from imgoptd.core.policy import FolderPolicy
from imgoptd.core.since import Since

ROOT = b"/srv"
FILE = FileRef(ROOT, b"a.jpg")
SINCE = Since(1_000)


def test_the_beginning_of_a_first_scan_is_durable_before_anything_is_looked_at() -> None:
    engine = Engine()
    engine.handle(e.Configured(1, (FolderPolicy(ROOT),), 0, 1, 300.0), 0.0)
    assert engine.handle(e.BaselineStarted(ROOT, SINCE), 0.0) == [c.BaselineBegun(ROOT, 1_000)]


def test_a_scan_that_is_begun_again_counts_from_its_first_beginning() -> None:
    now = Since(5_000_000_000, 100.0)
    first = now.begun(2_000_000_000)
    assert first == Since(2_000_000_000, 97.0)
    assert first.came(3_000_000_000, 100.0) and not first.came(1_999_999_999, 100.0)


@pytest.mark.parametrize("wall_ns", [0, 5_000_000_001])
def test_a_beginning_that_is_unknown_or_of_a_clock_that_was_set_back_counts_for_nothing(wall_ns: int) -> None:
    now = Since(5_000_000_000, 100.0)
    assert now.begun(wall_ns) is now


@pytest.mark.parametrize(
    ("ctime_ns", "stood_before"), [(999, True), (1_000, False), (1_001, False), (1_000 + 10**9, True)]
)
def test_what_changed_since_the_folder_was_watched_is_no_part_of_what_stood_there(
    ctime_ns: int, stood_before: bool
) -> None:
    engine = Engine()
    folder = FolderPolicy(ROOT, settle_s=1.0, optimize_existing=False)
    said: list[c.Command] = []
    for event in (
        e.Configured(1, (folder,), 0, 1, 300.0),
        e.BaselineStarted(ROOT, SINCE),
        e.ScanStarted(ROOT),
        e.Hinted(FILE, HintKind.FOUND),
        e.ScanFinished(ROOT),
    ):
        said += engine.handle(event, 0.0)
    said += engine.end_turn(0.0)
    assert c.LookAt(FILE) in said
    look = Look(FileKind.REGULAR, Identity(1, 2, 3, 4), mode=0o644, lease=Lease.GRANTED, ctime_ns=ctime_ns)
    said = engine.handle(e.Looked(FILE, look, None), 0.1)
    saved = [one.record for one in said if isinstance(one, c.SaveFile)]
    if stood_before:
        assert [(one.state, one.reason) for one in saved] == [(JobState.SKIPPED, "existing")]
    else:
        assert saved == [], "it has to settle first, like any new file"
        assert FILE in engine.intake.settler.candidates
    assert c.BaselineTaken(ROOT) in said
