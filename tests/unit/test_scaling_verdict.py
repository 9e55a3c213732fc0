"""What is said of many contests: each demand by its worst contest, averages where averages are asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.scaling import table
from benchmarks.scaling.contest import Contest, Setting
from benchmarks.scaling.score import Score
from benchmarks.scaling.verdict import Row, judge

GOOD = Score(100.0, 0, 0, 1.0, 0.0, 4, 0.0)


def contest(
    ours: Score = GOOD,
    binds: str = "cpu",
    others: dict[str, Score] | None = None,
    *,
    impossible: int = 0,
) -> Contest:
    return Contest(1000, impossible, 100.0, binds, {"imgoptd": ours} | (others or {}))


def judged(*contests: Contest) -> dict[str, Row]:
    """By demand; the contests are those of seeds 1, 2 and so on."""
    found = {Setting("burst", 0.2, seed): one for seed, one in enumerate(contests, 1)}
    return {row.demand.text: row for row in judge(found)}


def test_each_demand_is_judged_by_its_worst_contest_which_is_named() -> None:
    rows = judged(contest(), contest(replace(GOOD, oom_kills=2)), contest(replace(GOOD, oom_kills=1)))
    row = rows["OOM kills"]
    assert (row.value, row.mean, row.failing, row.met) == (2, 1.0, 2, False)
    assert str(row.worst) == "burst (sigma 0.2, seed 2)"


def test_the_bound_is_asked_for_by_what_binds() -> None:
    rows = judged(contest(replace(GOOD, makespan_s=110.0)), contest(replace(GOOD, makespan_s=160.0), "memory"))
    cpu, memory = rows["makespan / bound where CPU binds"], rows["makespan / bound where memory binds"]
    assert (round(cpu.value, 6), cpu.contests, cpu.met) == (1.1, 1, True)
    assert (round(memory.value, 6), memory.contests, memory.met) == (1.6, 1, False)


def test_where_only_the_path_binds_the_bound_asks_for_nothing() -> None:
    assert not [text for text in judged(contest(binds="path")) if "bound" in text]


def test_the_best_of_the_others_that_finish_is_what_one_is_compared_with() -> None:
    others = {
        "static": replace(GOOD, makespan_s=80.0, unfinished=2),
        "dask": replace(GOOD, makespan_s=90.0, fresh_p99_s=2.0),
        "hpa": replace(GOOD, makespan_s=95.0, fresh_p99_s=4.0),
    }
    rows = judged(contest(others=others))
    assert rows["makespan / best baseline that finishes"].value == pytest.approx(100 / 90)
    assert rows["p99 of fresh drops amid bulk / best baseline"].value == pytest.approx(0.5)
    rows = judged(contest(replace(GOOD, unfinished=2), others=others, impossible=2))
    assert rows["makespan / best baseline that finishes"].value == pytest.approx(100 / 80)
    assert rows["jobs unfinished that can be done"].met


def test_fresh_drops_that_nothing_could_wait_behind_are_judged_apart() -> None:
    other = {"static": replace(GOOD, fresh_p99_s=1.0)}
    rows = judged(replace(contest(others=other), mixed=False))
    assert "p99 of fresh drops amid bulk / best baseline" not in rows
    assert rows["the same where all are fresh drops"].value == 1.0


def test_where_no_other_finishes_there_is_nothing_to_compare_with() -> None:
    rows = judged(contest(others={"static": replace(GOOD, unfinished=1)}))
    assert "makespan / best baseline that finishes" not in rows


def test_the_average_is_judged_where_an_average_is_demanded() -> None:
    halves = [contest(GOOD, "memory", {"static": replace(GOOD, makespan_s=seconds)}) for seconds in (200.0, 100.0)]
    row = judged(*halves)["the same on average where memory binds"]
    assert (round(row.value, 6), row.met) == (0.75, True)


def test_tables_show_each_trace_and_each_demand() -> None:
    found = {
        Setting("burst", 0.2, 1): contest(others={"static": replace(GOOD, makespan_s=150.0, oom_kills=3, unfinished=1)})
    }
    rows = judge(found)
    assert "1.50 3k -1" in table.terminal(found)
    assert "| burst | 0.2 | cpu | 1.00 | 1.50 3k -1 |" in table.markdown(found, rows)
    assert "| OOM kills | 0 | 0 | met |" in table.markdown(found, rows)
    assert "met; worst burst (sigma 0.2, seed 1)" in table.verdict(rows)


def test_the_generated_table_takes_the_place_of_the_one_between_the_marks() -> None:
    text = f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n"
    once = table.put_between(text, "| new |\n")
    assert once == f"above\n{table.BEGIN}\n| new |\n{table.END}\nbelow\n"
    assert table.put_between(once, "| new |\n") == once
    with pytest.raises(ValueError, match="it has no place for the table"):
        table.put_between("above\n", "| new |\n")
