"""`./dev torture`: the rows one after another, then a table. The seed is printed first: a failure can be repeated.

Results add up over runs: each run of a row is a line of JSON in `benchmarks/results/torture.jsonl` (see `results`).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from pathlib import Path

from tests.torture import results
from tests.torture.report import CannotRun, Report, say
from tests.torture.results import Result
from tests.torture.rows import Row, found

MINUTES = 10.0
QUICK_S = 5.0


def main() -> int:
    rows = found()
    chosen = _options(list(rows))
    seconds = QUICK_S if chosen.quick else chosen.minutes * 60
    print(f"seed {chosen.seed}", flush=True)
    try:
        before = results.read(chosen.json)
    except ValueError as error:
        say(str(error))
        return 2
    made: list[Result] = []
    try:
        for name in chosen.row or rows:
            made.append(run_row(rows[name], seconds, chosen.seed, chosen.rounds))
            results.append(chosen.json, made[-1])
    except KeyboardInterrupt:
        say(f"interrupted; of {name} nothing is counted")
    print(results.table(made, [*before, *made], {name: row.ASKS for name, row in rows.items()}))
    return 1 if any(result.failures for result in made) else 0


def run_row(row: Row, seconds: float, seed: int, rounds: int | None) -> Result:
    """One run of one row. What it raises is a failure like any other."""
    say(f"{row.NAME}: {row.ASKS}")
    started = time.monotonic()
    lacks = ""
    try:
        report = row.run(seconds, seed, rounds)
    except CannotRun as reason:
        report, lacks = Report(), str(reason)
    except Exception:  # the rows after it still have something to tell
        report = Report()
        report.fail(f"the row itself ended: {traceback.format_exc()}")
    return Result.of(row.NAME, seed, report, time.monotonic() - started, lacks)


def _options(names: list[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="./dev torture", description="Everything that may go wrong, many times.")
    options.add_argument("--minutes", type=float, default=MINUTES, metavar="M", help=f"for each row ({MINUTES:g})")
    options.add_argument("--row", nargs="+", choices=names, metavar="NAME", help=f"these alone, of: {', '.join(names)}")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options.add_argument("--rounds", type=int, metavar="N", help="no more than these in each row")
    options.add_argument("--quick", action="store_true", help=f"{QUICK_S:g} s for each row")
    options.add_argument("--json", type=Path, default=results.FILE, metavar="FILE", help="where results add up")
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())
