"""The tiers: each is a folder and a marker, and the end of a run says of each what ran, and what could not and why.

Also the folder in which replaces are tried, for the tests that make none of their own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import hypothesis
import pytest

from imgoptd.adapters.beneath import Folder
from tests.replacing import FILESYSTEMS, filled, put_original

TESTS = Path(__file__).parent

TIERS = {
    "unit": "decisions: no sleep, file or process",
    "integration": "real processes, files, inotify, SQLite, journald",
    "fault": "kill -9, failing calls, full disks",
    "system": "a real systemd as PID 1",
}
OUTCOMES = ("passed", "failed", "error", "skipped")

# How long an example takes says nothing of the code on a machine that others keep busy.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def tier_of(path: Path) -> str:
    """The folder right below tests/, or an empty string for files outside any tier."""
    try:
        first = path.relative_to(TESTS).parts[0]
    except ValueError:
        return ""
    return first if first in TIERS else ""


def pytest_configure(config: pytest.Config) -> None:
    for tier, what in TIERS.items():
        config.addinivalue_line("markers", f"{tier}: {what}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = tier_of(item.path)
        if tier:
            item.add_marker(tier)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = {outcome: terminalreporter.getreports(outcome) for outcome in OUTCOMES}
    terminalreporter.section("tiers")
    for tier in TIERS:
        of_tier = {outcome: [r for r in found if _is_of(r, tier)] for outcome, found in reports.items()}
        terminalreporter.line(f"{tier:12} {_sentence(of_tier)}")


def _is_of(report: object, tier: str) -> bool:
    return getattr(report, "nodeid", "").startswith(f"tests/{tier}/")


def _sentence(reports: dict[str, list[pytest.TestReport]]) -> str:
    counts = {outcome: len(found) for outcome, found in reports.items() if found}
    if not counts:
        return "nothing selected"
    parts = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    reasons = _reasons(reports["skipped"])
    if set(counts) == {"skipped"}:
        return f"not run ({parts}): {reasons}"
    seconds = sum(getattr(report, "duration", 0.0) for found in reports.values() for report in found)
    return f"{parts} in {seconds:.1f} s" + (f"; skipped: {reasons}" if reasons else "")


def _reasons(skipped: Iterable[pytest.TestReport]) -> str:
    found: Counter[str] = Counter()
    for report in skipped:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found[text.removeprefix("Skipped: ")] += 1
    return "; ".join(f"{reason} ({count})" if count > 1 else reason for reason, count in found.most_common())


@pytest.fixture(params=FILESYSTEMS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder with an original in it, on each kind of filesystem. Its parent is of the test as well."""
    with filled(request.param, tmp_path, put_original) as made:
        yield made


@pytest.fixture
def folder(root: Path) -> Iterator[Folder]:
    with Folder(os.fsencode(root)) as held:
        yield held
