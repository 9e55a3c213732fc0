"""What is foretold of a job from its file alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.bounds import data_growth_bytes
from imgoptd.core.costs import MEASURED_SPREAD, MIB, UNKNOWN_SPREAD, Prediction, predict
from imgoptd.core.estimate import FIRST_FACTOR, Estimator
from imgoptd.core.model import Effort, FileRecord, FileRef, Identity, ImageFacts, JobState

PHOTO = ImageFacts("jpeg", 6000, 4000, channels=3, sampling="4:2:0")


def record(facts: ImageFacts, size_bytes: int = MIB) -> FileRecord:
    return FileRecord(FileRef(b"/srv", b"a"), Identity(1, 1, size_bytes, 1), JobState.QUEUED, facts=facts)


def foretold(facts: ImageFacts, size_bytes: int = MIB) -> Prediction:
    return predict(record(facts, size_bytes))


@pytest.mark.parametrize(
    ("facts", "size_mib", "took_mib"),
    [
        # Measured: VmHWM above a worker that had done nothing, of made pictures of 24 megapixels.
        (ImageFacts("jpeg", 5656, 4242, channels=1), 1.97, 76.8),
        (ImageFacts("jpeg", 5656, 4242, channels=3, sampling="4:2:0"), 2.81, 145.5),
        (ImageFacts("jpeg", 5656, 4242, channels=3, sampling="4:2:2"), 3.40, 169.9),
        (ImageFacts("jpeg", 5656, 4242, channels=3, sampling="4:4:4"), 4.25, 217.7),
        (ImageFacts("jpeg", 5656, 4242, channels=3, sampling="4:4:4", progressive=True), 3.86, 217.7),
        # Full of noise: the scans that MozJPEG tries count for more than the pixels.
        (ImageFacts("jpeg", 5656, 4242, channels=3, sampling="4:2:0"), 21.59, 272.8),
        (ImageFacts("jpeg", 5656, 4242, channels=3, sampling="4:2:2"), 28.65, 342.6),
    ],
)
def test_the_memory_of_a_jpeg_is_foretold_within_a_tenth(facts: ImageFacts, size_mib: float, took_mib: float) -> None:
    assert 1 / 1.1 < foretold(facts, int(size_mib * MIB)).memory_bytes / (took_mib * MIB) < 1.12


def test_a_photo_full_of_noise_may_map_what_mozjpeg_does_not_fill() -> None:
    mapped_mib, resident_mib = 345, 274  # as measured, 24 megapixels and 22 MiB
    assert data_growth_bytes("jpeg", resident_mib * MIB) >= mapped_mib * MIB


def test_what_is_not_known_of_a_jpegs_colours_is_not_taken_for_cheap() -> None:
    unknown, whole = foretold(replace(PHOTO, sampling="")), foretold(replace(PHOTO, sampling="4:4:4"))
    assert unknown.memory_bytes == whole.memory_bytes > foretold(PHOTO).memory_bytes
    assert (unknown.spread, whole.spread) == (UNKNOWN_SPREAD, MEASURED_SPREAD)
    assert foretold(replace(PHOTO, sampling="", channels=1)).spread == MEASURED_SPREAD, "grey ones have no colours"


def test_black_is_sampled_like_the_first_component() -> None:
    cmyk = replace(PHOTO, channels=4)
    assert foretold(cmyk).memory_bytes - foretold(PHOTO).memory_bytes == (2 + 1) * PHOTO.pixels


def test_a_jpeg_of_more_bytes_costs_more_cpu_and_a_progressive_one_still_more() -> None:
    small, large = foretold(PHOTO, MIB), foretold(PHOTO, 8 * MIB)
    assert large.cpu_s > small.cpu_s
    assert foretold(replace(PHOTO, progressive=True), MIB).cpu_s > small.cpu_s


def test_the_first_job_is_given_less_room_for_error_where_the_table_is_surer() -> None:
    def first(spread: float) -> float:
        return Estimator(lambda _: Prediction(100 * MIB, 1.0, spread)).estimate(record(PHOTO)).memory_bytes / MIB

    assert first(UNKNOWN_SPREAD) == 100 * FIRST_FACTOR
    assert 100 < first(MEASURED_SPREAD) < 150


@given(jobs=st.integers(1, 30))
def test_with_jobs_that_took_what_was_foretold_the_surer_table_asks_for_less(jobs: int) -> None:
    def after(spread: float) -> float:
        estimator = Estimator(lambda _: Prediction(100 * MIB, 1.0, spread))
        first = estimator.estimate(record(PHOTO)).least_bytes
        for _ in range(jobs):
            estimator.learn(record(PHOTO), Effort(1.0, 1.0, 130 * MIB), 30 * MIB)
        least = estimator.estimate(record(PHOTO)).least_bytes
        assert least <= first, "seeing what was foretold makes no one less sure"
        return least / MIB

    assert 100 < after(MEASURED_SPREAD) < min(130, after(UNKNOWN_SPREAD))
