"""Contests as tables: for a terminal, and as Markdown for the README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.scaling.contest import Contest, Setting
from benchmarks.scaling.score import Score
from benchmarks.scaling.verdict import Row, by_trace, mean


def verdict(rows: Sequence[Row]) -> str:
    lines = [f"{'':52}{'limit':>8}{'figure':>9}{'mean':>9}  contests"]
    for row in rows:
        state = "met" if row.met else "MISSED"
        failing = f", {row.failing} beyond" if row.failing else ""
        figures = f"{row.demand.most:8g}{row.value:9.3f}{row.mean:9.3f}"
        lines.append(f"{row.demand.text:52}{figures}  {row.contests}{failing}: {state}; worst {row.worst}")
    return "\n".join(lines)


def terminal(contests: Mapping[Setting, Contest]) -> str:
    """A line for each trace and sigma: imgoptd's figures, and makespan / bound of all."""
    names = _policies(contests)
    head = "".join(f"{name:>14}" for name in names)
    lines = [f"{'trace':20}{'sigma':>6}{'binds':>8}{'bound s':>9}{'fresh':>8}{'waste':>7}{'starts':>7}{'>90':>6}{head}"]
    for (name, sigma), seeds in by_trace(contests).items():
        ours = [one.ours for one in seeds]
        fresh = mean(one.fresh_over_best() for one in seeds)
        starts = mean(1000 * one.ours.starts / max(1, one.jobs) for one in seeds) or 0.0
        lines.append(
            f"{name:20}{sigma:6g}{_binds(seeds):>8}{mean(one.bound_s for one in seeds) or 0.0:9.1f}"
            f"{'' if fresh is None else f'{fresh:.2f}':>8}{mean(one.waste_ratio for one in ours) or 0.0:7.1%}"
            f"{starts:7.0f}{mean(one.above_90_s for one in ours) or 0.0:6.1f}"
            + "".join(f"{_cell(seeds, policy):>14}" for policy in names)
        )
    lines.append("makespan / bound; k: OOM kills a seed; -n: jobs a seed left undone that can be done")
    return "\n".join(lines)


def markdown(contests: Mapping[Setting, Contest], rows: Sequence[Row]) -> str:
    """Both tables, as they stand in the README."""
    names = _policies(contests)
    lines = ["| demand | at most | reached | |", "|---|---|---|---|"]
    for row in rows:
        state = "met" if row.met else f"missed in {row.failing} of {row.contests}"
        lines.append(f"| {row.demand.text} | {row.demand.most:g} | {row.value:.3g} | {state} |")
    lines += ["", "| trace | sigma | binds | " + " | ".join(names) + " |", "|---|---|---|" + "---|" * len(names)]
    for (name, sigma), seeds in by_trace(contests).items():
        cells = " | ".join(_cell(seeds, policy) for policy in names)
        lines.append(f"| {name} | {sigma:g} | {_binds(seeds)} | {cells} |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- scaling: generated -->", "<!-- scaling: end -->"


def put_between(text: str, table: str) -> str:
    """The document with the table between the two marks. Raises ValueError where they do not stand."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"it has no place for the table: put {BEGIN} and {END} there")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def _policies(contests: Mapping[Setting, Contest]) -> list[str]:
    return list(dict.fromkeys(name for one in contests.values() for name in one.scores))


def _binds(seeds: Sequence[Contest]) -> str:
    return "/".join(name for name, _ in Counter(one.binds for one in seeds).most_common(2))


def _cell(seeds: Sequence[Contest], policy: str) -> str:
    """Makespan over the bound, OOM kills a seed, and jobs left undone a seed."""
    both: list[tuple[Contest, Score]] = [(one, one.scores[policy]) for one in seeds if policy in one.scores]
    text = f"{mean(one.over_bound(score) for one, score in both) or 0.0:.2f}"
    kills = mean(score.oom_kills for _, score in both)
    left = mean(max(0, score.unfinished - one.impossible) for one, score in both)
    return text + (f" {kills:.0f}k" if kills else "") + (f" -{left:.0f}" if left else "")
