"""Daemons whose clock jumps, whose store is damaged, or that start with much to do: the quick form of these rows."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from tests.replacing import PROJECT
from tests.torture.report import CannotRun, Report
from tests.torture.rows import clock, damage, restart

SECONDS = 60.0
"""Not reached; a machine that is slow makes fewer rounds."""


def seed() -> int:
    number = random.SystemRandom().randrange(1_000_000)
    print(f"seed {number}")
    return number


def test_a_clock_that_jumps_by_a_day_stalls_nothing_and_settles_nothing_early() -> None:
    try:
        report = clock.run(SECONDS, seed(), 10)
    except CannotRun as reason:
        pytest.skip(str(reason))
    assert report.failures == []
    assert report.rounds == 10


def test_a_clock_that_runs_ahead_is_what_the_daemon_sees() -> None:
    """Else nothing would be proved by the rest."""
    source = "import time; print(int(time.time()), time.clock_gettime_ns(5) // 10**9)"
    said = clock.said_a_day_ahead([sys.executable, "-c", source]).split()
    assert all(abs(int(one) - time.time() - clock.DAY_S) < 60 for one in said), said


def test_a_damaged_store_costs_no_image_and_the_daemon_works_on() -> None:
    report = damage.run(SECONDS, seed(), 6)
    assert report.failures == []
    assert report.rounds >= 6


def test_a_daemon_that_starts_with_queued_files_comes_to_its_first_result() -> None:
    report = Report()
    took = restart.starts(200, time.monotonic() + SECONDS, 1, report)
    assert (len(took), report.failures) == (1, [])


@pytest.mark.parametrize("machine", ["engine", "store"])
def test_the_long_form_of_a_state_machine_counts_its_steps(machine: str) -> None:
    command = [sys.executable, "-m", "tests.torture.rows.machines", machine, str(seed()), "3"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3
