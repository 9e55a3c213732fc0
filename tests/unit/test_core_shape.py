"""The backlog by folder and age."""

from __future__ import annotations

from imgoptd.core.shape import AGES_S, shape


def test_each_file_counts_once_in_the_first_column_that_is_not_older_than_it() -> None:
    waits = [0.0, 60.0, 60.1, 300.0, 4000.0, 86400.0, 1e6]
    row = shape([(b"/srv", 2e6 - wait, "queued") for wait in waits], 2e6)[b"/srv"]
    assert row.ages == [2, 2, 0, 0, 1, 1, 1]
    assert sum(row.ages) == row.states["queued"] == len(waits)
    assert row.oldest_s == 1e6


def test_folders_and_states_are_told_apart() -> None:
    rows = shape([(b"/a", 0.0, "queued"), (b"/b", 0.0, "settling"), (b"/b", 0.0, "deferred")], 10.0)
    assert rows[b"/a"].states == {"queued": 1}
    assert rows[b"/b"].states == {"settling": 1, "deferred": 1}
    assert rows[b"/b"].ages[0] == 2


def test_a_clock_read_before_the_file_was_noticed_makes_no_negative_age() -> None:
    assert shape([(b"/a", 10.0, "queued")], 9.0)[b"/a"].ages == [1] + [0] * len(AGES_S)
