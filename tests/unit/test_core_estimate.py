"""What a job is expected to take, and what jobs teach of it."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.costs import Prediction, predict
from imgoptd.core.estimate import (
    BESIDE_FACTOR,
    FIRST_FACTOR,
    LEAST_FACTOR,
    MIB,
    MOST_FACTOR,
    Estimator,
)
from imgoptd.core.evidence import ENOUGH, MOST_DOMAINS, OTHERS_MOST, WINDOW, Ratios, believe
from imgoptd.core.kinds import YARDSTICK_JOBS
from imgoptd.core.model import Domain, Effort, FileRecord, ImageFacts
from tests.unit.estimating import BOB, IDLE, PHOTO, factor, icon, probed, table, teach, thousandths

# ---- before anything was learned ------------------------------------------------------------------------------------


def test_more_pixels_deeper_samples_and_interlacing_need_more_memory() -> None:
    def memory_of(facts: ImageFacts) -> int:
        return Estimator().estimate(probed(facts, MIB)).memory_bytes

    plain = ImageFacts("png", 1000, 1000)
    least = memory_of(plain)
    assert memory_of(replace(plain, width=2000)) > least
    assert memory_of(replace(plain, depth_bits=16)) > least
    assert memory_of(replace(plain, progressive=True)) > least
    assert memory_of(replace(plain, frames=9)) > least
    assert memory_of(replace(plain, format="jxl")) > least, "what is not known is not taken for cheap"


def test_the_first_job_of_a_kind_may_take_more_than_twice_what_the_table_says() -> None:
    estimate, said = Estimator().estimate(probed()), predict(probed())
    assert estimate.memory_bytes == int(FIRST_FACTOR * said.memory_bytes)
    assert estimate.least_bytes == int(BESIDE_FACTOR * said.memory_bytes), "beside one that has so much"
    assert (estimate.likely_bytes, estimate.cpu_s) == (int(said.memory_bytes), said.cpu_s)
    assert estimate.learned_from == 0


def test_any_function_of_the_file_can_take_the_place_of_the_table() -> None:
    estimator = Estimator(lambda record: Prediction(1000.0, 0.0))
    estimator.learn(probed(), Effort(cpu_s=1.0, peak_bytes=IDLE + 1), IDLE)  # a prediction of nothing is no divisor
    assert estimator.estimate(probed()).likely_bytes <= 1000


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_each_job_that_took_what_the_table_says_narrows_what_is_asked_for() -> None:
    estimator, factors = Estimator(), []
    for _ in range(WINDOW):
        factors.append(factor(estimator, probed()))
        teach(estimator, probed(), 1.0)
    assert factors == sorted(factors, reverse=True)
    assert len(set(factors)) == WINDOW
    assert 1.0 < factor(estimator, probed()) < 1.25


def test_a_table_that_is_wrong_by_twice_is_mended_by_the_first_job() -> None:
    estimator = Estimator()
    for _ in range(WINDOW):
        teach(estimator, probed(), 2.0)
        estimate = estimator.estimate(probed())
        assert 2 * table(probed()) <= estimate.least_bytes < estimate.memory_bytes
    assert estimate.memory_bytes < 2.7 * table(probed())
    assert estimate.learned_from == WINDOW


@pytest.mark.parametrize("sigma", [0.2, 0.5])
def test_as_many_jobs_exceed_a_learned_reservation_as_were_to(sigma: float) -> None:
    errors = NormalDist(0.0, sigma)
    estimator = Estimator()
    teach(estimator, probed(), *(math.exp(errors.inv_cdf((number + 0.5) / WINDOW)) for number in range(WINDOW)))
    estimate = estimator.estimate(probed())
    beyond_asked = 1 - errors.cdf(math.log(estimate.memory_bytes / table(probed())))
    beyond_least = 1 - errors.cdf(math.log(estimate.least_bytes / table(probed())))
    assert beyond_asked < 0.006
    assert 0.02 < beyond_least < 0.055


def test_one_odd_job_among_many_is_not_paid_for_by_all() -> None:
    estimator = Estimator()
    teach(estimator, probed(), *[1.0] * 63)
    before = factor(estimator, probed())
    teach(estimator, probed(), 4.0)
    assert before < factor(estimator, probed()) < 1.2 * before


def test_when_jobs_begin_to_take_more_a_few_of_them_are_enough() -> None:
    estimator = Estimator()
    teach(estimator, probed(), *[0.9] * WINDOW)
    teach(estimator, probed(), *[1.4] * 6)
    assert factor(estimator, probed()) > 1.39


def test_what_was_learned_last_counts_and_the_rest_is_forgotten() -> None:
    estimator, fresh = Estimator(), Estimator()
    teach(estimator, probed(), *[3.0] * 20, *[1.0] * WINDOW)
    teach(fresh, probed(), *[1.0] * WINDOW)
    assert estimator.estimate(probed()) == fresh.estimate(probed())


def test_a_job_that_was_refused_memory_teaches_that_it_needed_more() -> None:
    estimator = Estimator()
    teach(estimator, probed(), *[1.0] * 4)
    before = factor(estimator, probed())
    estimator.learn_short(probed(), int(1.5 * table(probed())))
    assert factor(estimator, probed()) > max(before, 1.5)


def test_giants_do_not_inflate_icons_nor_one_format_another() -> None:
    estimator = Estimator()
    others = [icon(), probed(ImageFacts("png", 4000, 3000)), probed(replace(PHOTO, progressive=True))]
    before = [estimator.estimate(other) for other in others]
    teach(estimator, probed(), *[3.0] * 20)
    assert [estimator.estimate(other) for other in others] == before


def test_small_jobs_teach_of_small_jobs() -> None:
    estimator = Estimator()
    teach(estimator, icon(), *[0.5] * 20)
    assert factor(estimator, icon()) < 1.0
    assert factor(estimator, probed()) == pytest.approx(FIRST_FACTOR)


def test_unknown_peaks_and_large_jobs_that_ended_at_once_teach_nothing_of_memory() -> None:
    estimator = Estimator()
    before = estimator.estimate(probed())
    for _ in range(50):
        estimator.learn(probed(), Effort(peak_bytes=0), IDLE)
        estimator.learn(probed(), Effort(peak_bytes=200 * MIB), None)
        estimator.learn(probed(), Effort(peak_bytes=IDLE + 10 * MIB), IDLE)
    assert estimator.estimate(probed()) == before


@given(thousandths, st.integers(0, 300))
def test_jobs_that_all_took_more_are_never_given_less(logs: list[int], more: int) -> None:
    lower, higher = believe(logs), believe([one + more for one in logs])
    assert higher.ratio(1.645) >= lower.ratio(1.645) - 1e-9 or min(logs) < 0
    assert higher.centre >= lower.centre - 1e-9


@given(thousandths, st.randoms())
def test_the_order_of_what_was_seen_makes_no_difference(logs: list[int], dice: object) -> None:
    shuffled = sorted(logs, key=lambda one: hash((one, str(dice))))
    assert believe(shuffled) == believe(logs)


@given(st.lists(st.floats(0.001, 1000.0), max_size=WINDOW))
def test_reservations_are_ordered_and_bounded_whatever_was_seen(ratios: list[float]) -> None:
    estimator = Estimator()
    teach(estimator, probed(), *ratios)
    estimate, said = estimator.estimate(probed()), table(probed())
    assert LEAST_FACTOR * said - 1 <= estimate.likely_bytes <= estimate.least_bytes <= estimate.memory_bytes
    assert estimate.memory_bytes <= MOST_FACTOR * said


# ---- another yardstick ----------------------------------------------------------------------------------------------


def pictures(count: int) -> list[FileRecord]:
    return [probed(ImageFacts("jpeg", 3000 + 40 * number, 3000, channels=3)) for number in range(count)]


def erring(record: FileRecord) -> Prediction:
    """A table whose errors are as if by chance: off by up to three times either way."""
    facts = record.facts
    assert facts is not None
    off = math.exp(math.sin(float(facts.width)) * 1.1)
    return Prediction(off * 12.0 * facts.pixels, off * 0.1 * facts.pixels / 1e6)


def test_where_the_size_of_the_picture_tells_better_than_the_table_it_is_gone_by() -> None:
    estimator = Estimator(erring)
    for record in pictures(40):
        assert record.facts is not None
        pixels = record.facts.pixels
        effort = Effort(cpu_s=0.1 * pixels / 1e6, peak_bytes=IDLE + 12 * pixels)
        estimator.learn(record, effort, IDLE)
    for record in pictures(60)[40:]:
        assert record.facts is not None
        estimate, took = estimator.estimate(record), 12 * record.facts.pixels
        assert took < estimate.least_bytes < 1.3 * took
        assert estimate.cpu_s == pytest.approx(0.1 * record.facts.pixels / 1e6, rel=0.1)


def test_a_few_jobs_suffice_to_tell_which_errs_by_less() -> None:
    estimator = Estimator(erring)
    for record in pictures(YARDSTICK_JOBS):
        assert record.facts is not None
        estimator.learn(record, Effort(cpu_s=1.0, peak_bytes=IDLE + 12 * record.facts.pixels), IDLE)
    last = pictures(8)[-1]
    assert last.facts is not None
    assert estimator.estimate(last).likely_bytes == pytest.approx(12 * last.facts.pixels, rel=0.1)


def test_a_table_that_tells_as_well_stays_in_force() -> None:
    estimator = Estimator()
    for record in pictures(40):
        teach(estimator, record, 1.1)
    deep = probed(ImageFacts("jpeg", 3000, 3000, channels=3), size=200 * MIB)
    assert estimator.estimate(deep).likely_bytes == pytest.approx(1.1 * table(deep), rel=0.02)


def test_what_was_learned_of_either_is_kept_for_the_next_run() -> None:
    estimator, later = Estimator(erring), Estimator(erring)
    for record in pictures(40):
        assert record.facts is not None
        estimator.learn(record, Effort(cpu_s=1.0, peak_bytes=IDLE + 12 * record.facts.pixels), IDLE)
    later.restore(estimator.lessons())
    assert [later.estimate(one) for one in pictures(60)] == [estimator.estimate(one) for one in pictures(60)]


# ---- trust domains --------------------------------------------------------------------------------------------------


def test_a_new_domain_learns_from_others_what_it_has_not_seen_itself() -> None:
    estimator = Estimator()
    teach(estimator, probed(), *[1.0] * WINDOW)
    assert estimator.estimate(probed(uid=BOB)).learned_from == OTHERS_MOST
    assert factor(estimator, probed(uid=BOB)) < FIRST_FACTOR - 0.9


@pytest.mark.parametrize("lie", [0.0, 1e15])
def test_what_a_worker_says_of_itself_is_soon_of_no_account_for_others(lie: float) -> None:
    estimator, alone = Estimator(), Estimator()
    for _ in range(ENOUGH):
        teach(estimator, probed(uid=BOB), *[1 + lie] * 20 if lie else [0.2] * 20)
        teach(estimator, probed(), 1.0)
        teach(alone, probed(), 1.0)
        assert factor(estimator, probed()) <= MOST_FACTOR
    assert estimator.estimate(probed()) == alone.estimate(probed())


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0.1, 10.0)), max_size=300))
def test_of_many_domains_each_lends_as_much_as_the_others_and_none_without_end(taught: list[tuple[int, float]]) -> None:
    ratios = Ratios(0.25, 4.0)
    for uid, ratio in taught:
        ratios.add(Domain(b"/srv", uid), ratio)
    assert len(ratios.by_domain) <= MOST_DOMAINS
    assert all(0 < len(window) <= WINDOW for window in ratios.by_domain.values())
    stranger = ratios.of(Domain(b"/other", 7))
    lent = [min(OTHERS_MOST, len(window)) for window in ratios.by_domain.values()]
    assert len(stranger) == min(ENOUGH, sum(lent))


def test_names_of_formats_that_a_worker_invents_fill_no_memory() -> None:
    estimator = Estimator()
    for number in range(100):
        teach(estimator, probed(ImageFacts(f"made-up-{number}", 1000, 1000)), 1.0)
    assert {one.kind for one in estimator.lessons()} == {"other", "other by picture"}


# ---- CPU seconds ----------------------------------------------------------------------------------------------------


def test_cpu_seconds_follow_the_median_and_no_single_job() -> None:
    estimator, said = Estimator(), predict(probed()).cpu_s
    teach(estimator, probed(), *[3.0] * 30, 1000.0)
    assert 2.8 * said < estimator.estimate(probed()).cpu_s < 3.0 * said


def test_a_file_that_was_not_probed_is_guessed_by_its_size_and_then_by_what_such_files_cost() -> None:
    estimator = Estimator()
    assert estimator.mean_cpu_s(100) == 0.02
    assert estimator.mean_cpu_s(20 * MIB) == pytest.approx(2.0)
    assert estimator.mean_cpu_s(1 << 40) == 60.0
    for _ in range(100):
        estimator.learn_file(20 * MIB, 7.0)
    assert 6.5 < estimator.mean_cpu_s(20 * MIB) < 7.0
    assert estimator.mean_cpu_s(100) == 0.02, "icons cost what icons cost"
    for _ in range(500):
        estimator.learn_file(20 * MIB, 0.0)  # videos, say: there is nothing to do
    assert estimator.mean_cpu_s(20 * MIB) < 0.2


def test_no_lie_makes_a_file_that_was_not_probed_cost_more_than_a_minute() -> None:
    estimator = Estimator()
    for _ in range(100):
        estimator.learn_file(MIB, 1e6)
    assert estimator.mean_cpu_s(MIB) <= 60.0
