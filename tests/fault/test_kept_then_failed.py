"""An error at each call that ends the keeping of an original, or the closing of the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.torture.points import Points
from tests.torture.report import CannotRun
from tests.torture.strace import needs_strace


@pytest.fixture
def points() -> Iterator[Points]:
    try:
        needs_strace()
    except CannotRun as reason:
        pytest.skip(str(reason))
    with Points() as made:
        yield made


@pytest.mark.parametrize("way", ["kept", "kept in state_dir"])
def test_a_disk_that_fails_at_a_flush_leaves_a_kept_original_with_its_row_or_none(points: Points, way: str) -> None:
    """One of the flushes follows the rename of the original into the place where it is kept."""
    for number in range(1, points.calls(way)["fsync"] + 1):
        assert points.done_to(way, f"fsync:error=EIO:when={number}").wrong == []


def test_an_error_told_by_the_look_at_a_kept_original_leaves_it_with_its_row(points: Points) -> None:
    for number in range(points.calls("kept")["newfstatat"] - 6, points.calls("kept")["newfstatat"] + 1):
        assert points.done_to("kept", f"newfstatat:error=EIO:when={number}").wrong == []


def test_a_copy_of_an_original_that_somebody_replaced_in_the_last_moment_is_removed(points: Points) -> None:
    trial, before = points.trial("kept in state_dir, put back")
    assert points.undisturbed(trial, "kept in state_dir, put back") == 0
    assert points.wrong(trial, before, "kept in state_dir, put back") == []
    assert list(trial.state.glob("undo/*")) == []


@pytest.mark.parametrize("call", ["pwrite64", "newfstatat"])
def test_a_store_that_fails_while_it_is_closed_is_whole_at_the_next_start(points: Points, call: str) -> None:
    way = "exchanged, then stopped"
    times = points.calls(way)[call]
    for number in range(times - 3, times + 1):
        result = points.done_to(way, f"{call}:error=EIO:when={number}+")
        assert (result.status, result.wrong) == (0, [])
        assert result.injected >= 1
