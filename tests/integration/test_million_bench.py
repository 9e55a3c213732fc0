"""The benchmark of a million queued files, with few: that it measures what it says."""

from __future__ import annotations

import pytest

from benchmarks.million_engine import Alone, Timed, percentile, pure


def test_alone_the_engine_does_all_that_was_queued_and_tells_what_turns_took(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert pure(400, 20.0) in (0, 1)
    said = capsys.readouterr().out
    assert "400 jobs queued" in said
    assert "400 jobs done" in said
    assert "engine turns, CPU: " in said


def test_each_turn_is_measured_once() -> None:
    alone = Alone()
    for _ in range(3):
        alone.turn(0.0)
    assert isinstance(alone.engine, Timed)
    assert len(alone.engine.turns) == len(alone.engine.cpu_turns) == 3
    assert all(took > 0 for took in alone.engine.turns)


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(100), 0.99) == 99
    assert percentile([5.0], 0.99) == 5.0
