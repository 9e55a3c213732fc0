"""The quick form of the rows of `./dev torture` about files, writers and folders. The seed is told on failure."""

from __future__ import annotations

import random

import pytest

from tests.torture.report import CannotRun, Report
from tests.torture.rows import found

pytestmark = pytest.mark.timeout(170)


def quick(name: str, seconds: float, rounds: int) -> Report:
    """Run the row. Skips the test, with the reason, where the machine lacks what it needs."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"again with: ./dev torture --row {name} --seed {seed} --rounds {rounds} --minutes {seconds / 60:g}")
    try:
        report = found()[name].run(seconds, seed, rounds)
    except CannotRun as reason:
        pytest.skip(str(reason))
    print(report.figures)
    return report


def test_no_file_is_missed_or_read_too_early_by_whatever_way_it_comes() -> None:
    report = quick("arrivals", 20, 200)
    assert report.failures == []
    assert report.rounds >= 200


def test_no_slow_writer_is_read_before_it_is_done() -> None:
    report = quick("slow-writers", 4, 100)
    assert report.failures == []
    assert report.rounds > 50


def test_the_newest_content_of_a_file_that_is_rewritten_while_it_is_worked_on_survives() -> None:
    report = quick("rewritten", 20, 60)
    assert report.failures == []
    assert report.rounds == 60


def test_what_is_written_to_a_file_that_was_opened_before_the_exchange_stands_at_the_path_in_the_end() -> None:
    report = quick("late-writers", 20, 60)
    assert report.failures == []
    assert report.rounds == 60


def test_folders_that_go_and_come_back_are_found_again_and_no_file_in_them_is_missed() -> None:
    report = quick("roots", 4, 30)
    assert report.failures == []
    assert report.rounds > 10


def test_no_file_is_missed_where_the_queue_of_events_overflows_and_later_ones_are_heard() -> None:
    report = quick("overflow", 10, 3000)
    assert report.failures == []
    assert report.rounds >= 3000
