"""What jobs teach of their growth after rest, and what of all that was learned the next run begins with."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.estimate import (
    MIB,
    Estimate,
    Estimator,
)
from imgoptd.core.evidence import WINDOW, upper
from imgoptd.core.kinds import GROWTH_JOBS
from tests.unit.estimating import ALICE, BOB, icon, probed, teach

# ---- growth after rest ----------------------------------------------------------------------------------------------


def test_how_jobs_grow_after_they_came_to_rest_is_unknown_until_enough_were_seen() -> None:
    estimator = Estimator()
    for _ in range(GROWTH_JOBS - 1):
        estimator.learn_growth(probed(), [100 * MIB], 110 * MIB)
        assert estimator.later_growth(probed()) == [None] * 3
    estimator.learn_growth(probed(), [100 * MIB], 150 * MIB)
    assert estimator.later_growth(probed()) == [pytest.approx(1.5, rel=1e-3), None, None], "with so few, the highest"
    assert estimator.later_growth(icon()) == [None] * 3


def test_each_stage_of_rest_has_its_own_growth() -> None:
    estimator = Estimator()
    for _ in range(GROWTH_JOBS):
        estimator.learn_growth(probed(), [10 * MIB, 40 * MIB, 80 * MIB], 80 * MIB)
    assert estimator.later_growth(probed()) == [pytest.approx(8.0, rel=1e-3), pytest.approx(2.0, rel=1e-3), 1.0]


def test_of_many_the_highest_twentieth_is_left_out_and_nothing_shrinks() -> None:
    estimator = Estimator()
    for number in range(WINDOW):
        estimator.learn_growth(probed(), [100 * MIB], (300 if number in (5, 40) else 50) * MIB)
    assert estimator.later_growth(probed())[0] == 1.0
    estimator.learn_growth(probed(), [], 100 * MIB)  # it never came to rest
    assert len(estimator.lessons()[0].growth) == WINDOW


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=WINDOW))
def test_of_those_seen_no_more_than_a_twentieth_grew_further(logs: list[int]) -> None:
    bound = upper(logs, 0.95, 1)
    assert bound is not None
    assert sum(math.exp(one / 1000) > bound + 1e-9 for one in logs) <= 0.05 * len(logs)


# ---- kept for the next run ------------------------------------------------------------------------------------------


def test_another_run_goes_on_with_what_was_learned() -> None:
    estimator, later = Estimator(), Estimator()
    for uid in (ALICE, BOB):
        teach(estimator, probed(uid=uid), 0.8, 0.9, 1.3)
        teach(estimator, icon(uid), 0.4)
    for _ in range(GROWTH_JOBS):
        estimator.learn_growth(probed(), [100, 110], 120)
    later.restore(estimator.lessons())
    assert later.lessons() == estimator.lessons()
    for record in (probed(), probed(uid=BOB), icon(), probed(uid=7)):
        assert later.estimate(record) == estimator.estimate(record)
        assert later.later_growth(record) == estimator.later_growth(record)


def test_what_was_kept_is_held_to_the_same_bounds() -> None:
    estimator = Estimator()
    teach(estimator, probed(), 1.0)
    [lesson, _] = estimator.lessons()
    later = Estimator()
    later.restore([lesson._replace(memory=(30_000,) * 1000, cpu=(), growth=(-5,))])
    [held] = later.lessons()
    assert len(held.memory) == WINDOW
    assert max(held.memory) < 1500
    assert (held.cpu, held.growth) == ((), (0,))


def test_an_estimate_says_how_many_jobs_it_rests_on() -> None:
    estimator = Estimator()
    teach(estimator, probed(), *[1.0] * 3)
    assert isinstance(estimator.estimate(probed()), Estimate)
    assert estimator.estimate(probed()).learned_from == 3
