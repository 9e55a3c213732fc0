"""Workers killed in turn, amid poison: the quick form of that row."""

from __future__ import annotations

import random

import pytest

from tests.torture.report import CannotRun
from tests.torture.rows import workers


def test_workers_that_are_killed_in_turn_cost_no_job_and_poison_is_found_in_two_tries() -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    try:
        report = workers.run(60.0, seed, 8)
    except CannotRun as reason:
        pytest.skip(str(reason))
    assert report.failures == []
    assert report.rounds >= 4
