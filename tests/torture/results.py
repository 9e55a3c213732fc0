"""Results that add up over runs: a line of JSON for each run of each row, and the table made of them.

The sum of a row is taken over every line with its name in the file, whatever was checked out when it ran: take the file
away to begin anew. Rounds of different runs are trials of different chance, since each run has a seed of its own; a
run that is repeated with the same seed is a line of its own all the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.torture.report import SAID, Report, bound

FILE = Path("benchmarks/results/torture.jsonl")


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one row, as a line of the file."""

    row: str
    when: str
    """UTC."""
    seed: int
    rounds: int
    failures: int
    first_failures: list[str]
    figures: dict[str, str]
    seconds: float
    lacks: str = ""
    """Why this machine cannot run the row; it counts for nothing then."""

    @classmethod
    def of(cls, row: str, seed: int, report: Report, seconds: float, lacks: str) -> Result:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = report.failures[:SAID]
        return cls(row, when, seed, report.rounds, len(report.failures), told, report.figures, round(seconds, 1), lacks)


def append(file: Path, result: Result) -> None:
    if result.lacks:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(result)) + "\n")


def read(file: Path) -> list[Result]:
    """Every run there was. Raises ValueError for a line that is none."""
    if not file.exists():
        return []
    try:
        return [Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} holds a line that is no result: {error}; mend it or move the file away") from error


def table(made: Sequence[Result], all_runs: Sequence[Result], asks: Mapping[str, str]) -> str:
    """This run beside the sum of all, a paragraph a row."""
    lines: list[str] = []
    for result in made:
        lines += ["", f"{result.row}: {asks.get(result.row, '')}"]
        if result.lacks:
            lines.append(f"  not run here: {result.lacks}")
            continue
        runs = [run for run in all_runs if run.row == result.row]
        lines.append("             rounds  failures     bound      time")
        lines.append(_line("this run", [result]))
        lines.append(_line(f"{len(runs)} runs", runs))
        lines += [f"  {name}: {value}" for name, value in result.figures.items()]
        lines += [f"  FAILED: {failure}" for failure in result.first_failures[:3]]
        if result.failures > 3:
            lines.append(f"  ... and {result.failures - 3} more failures")
    return "\n".join(lines[1:])


def _line(label: str, runs: Sequence[Result]) -> str:
    rounds, failures = sum(run.rounds for run in runs), sum(run.failures for run in runs)
    limit = f"{bound(rounds):.2g}" if rounds and not failures else "-"
    return f"  {label:9}{rounds:>8}{failures:>10}{limit:>10}{sum(run.seconds for run in runs):>8.0f} s"
