"""The frame of `./dev torture`: results add up over runs, and what cannot run or ends by itself is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import results
from tests.torture.__main__ import run_row
from tests.torture.crowd import Actor, crowd
from tests.torture.report import SAID, CannotRun, Report, bound
from tests.torture.rows import found


class Made:
    """A row of this test's own."""

    NAME = "made"
    ASKS = "nothing"

    def __init__(self, answer: Report | Exception) -> None:
        self.answer = answer

    def run(self, seconds: float, seed: int, rounds: int | None = None) -> Report:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_runs_of_a_row_add_up_and_their_bound_narrows(tmp_path: Path) -> None:
    file = tmp_path / "below" / "torture.jsonl"
    for rounds in (100, 200):
        results.append(file, run_row(Made(Report(rounds, figures={"speed": "fine"})), 1, 7, None))
    both = results.read(file)
    lines = results.table(both[1:], both, {"made": "nothing"}).splitlines()
    assert lines[0] == "made: nothing"
    assert lines[2].split()[:5] == ["this", "run", "200", "0", "0.015"]
    assert lines[3].split()[:5] == ["2", "runs", "300", "0", "0.01"]
    assert lines[4] == "  speed: fine"


def test_a_row_with_failures_has_no_bound_and_its_first_failures_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "torture.jsonl"
    report = Report(500)
    for number in range(SAID + 5):
        report.fail(f"failure {number}")
    results.append(file, run_row(Made(report), 1, 7, None))
    [kept] = results.read(file)
    assert kept.failures == SAID + 5
    assert len(kept.first_failures) == SAID
    shown = results.table([kept], [kept], {})
    assert shown.splitlines()[2].split()[:5] == ["this", "run", "500", str(SAID + 5), "-"]
    assert "FAILED: failure 0" in shown


def test_a_row_that_this_machine_cannot_run_is_named_with_the_reason_and_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "torture.jsonl"
    result = run_row(Made(CannotRun("there is no strace")), 1, 7, None)
    results.append(file, result)
    assert results.read(file) == []
    assert result.failures == 0
    assert results.table([result], [], {}).splitlines()[1] == "  not run here: there is no strace"


def test_a_row_that_ends_by_an_exception_has_failed() -> None:
    assert run_row(Made(ValueError("what now?")), 1, 7, None).failures == 1


def test_a_file_of_results_that_holds_something_else_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "torture.jsonl"
    for line in ("no JSON", '{"row": "made"}', "[1]"):
        file.write_text(line + "\n")
        with pytest.raises(ValueError, match=r"torture\.jsonl holds a line that is no result"):
            results.read(file)


def test_what_never_happened_in_n_trials_is_bounded_by_three_in_n() -> None:
    assert (bound(0), bound(1), bound(300)) == (1.0, 1.0, 0.01)


def test_every_row_has_a_name_of_its_own_and_says_what_it_asks() -> None:
    rows = found()
    assert {"arrivals", "slow-writers", "late-writers", "rewritten", "roots", "overflow", "kills"} <= rows.keys()
    assert all(row.ASKS and name == row.NAME for name, row in rows.items())


def test_a_crowd_keeps_its_size_and_lets_everybody_end() -> None:
    at_work: list[int] = []
    most = 0
    names = iter(range(10))

    def actor(name: int) -> Actor:
        nonlocal most
        at_work.append(name)
        most = max(most, len(at_work))
        yield 0.001
        yield 0.0
        at_work.remove(name)

    crowd(lambda: actor(name) if (name := next(names, None)) is not None else None, 3)
    assert most == 3
    assert at_work == []
    assert next(names, None) is None
