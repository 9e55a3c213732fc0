"""`python -m benchmarks.scaling [TRACE...]`: the supervisor on simulated machines, beside other pools.

Without `--trace`, the traces made here are run with each seed and sigma; the tables go to the terminal, and with all
figures to benchmarks/results/scaling.json and scaling.md. It ends with 1 if a demand is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.scaling import explain, table, traces
from benchmarks.scaling.contest import IMGOPTD, Contest, Setting, contest, contests, policies
from benchmarks.scaling.trace import Trace, TraceError, lines, read
from benchmarks.scaling.verdict import Row, judge

RESULTS = Path(__file__).parent.parent / "results"
QUICK_SEEDS = 3
SEEDS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 all demands are met, 1 some are missed, 2 what was asked for cannot be done."""
    chosen = _arguments(arguments)
    try:
        return _run(chosen)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (TraceError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(chosen: argparse.Namespace) -> int:
    if chosen.emit:
        sys.stdout.writelines(lines(traces.make(chosen.emit, chosen.seed or 1, chosen.sigma[0])))
        return 0
    if chosen.explain:
        explain.run(_one(chosen), sys.stdout)
        return 0
    if chosen.trace:
        found = contest(_one(chosen), chosen.policies)
        if chosen.json:
            print(json.dumps(found.as_json(), indent=2))
        else:
            print(table.terminal({Setting(chosen.trace, 0.0, chosen.seed or 0): found}))
        return 0
    return _suite(chosen)


def _one(chosen: argparse.Namespace) -> Trace:
    """The trace that the command line names. Raises TraceError and OSError."""
    if not chosen.trace:
        return traces.make(chosen.names[0], chosen.seed or 1, chosen.sigma[0])
    trace = read(chosen.trace)
    return trace if chosen.seed is None else trace.shuffled(chosen.seed)


def _suite(chosen: argparse.Namespace) -> int:
    count = chosen.seeds or (QUICK_SEEDS if chosen.quick else SEEDS)
    first = chosen.seed or 1
    seeds = range(first, first + count)
    settings = [
        Setting(name, sigma, seed) for name in traces.names(chosen.names) for sigma in chosen.sigma for seed in seeds
    ]
    began_s = time.monotonic()
    found = contests(settings, chosen.policies, chosen.processes, _tell)
    rows = judge(found) if all(IMGOPTD in one.scores for one in found.values()) else []
    if chosen.json:
        print(json.dumps(_as_json(found, rows), indent=1))
    else:
        print(table.terminal(found))
        print()
        print(table.verdict(rows))
        print(f"seeds {first} to {first + count - 1}, {len(found)} contests in {time.monotonic() - began_s:.0f} s")
    RESULTS.mkdir(exist_ok=True)
    Path(RESULTS, "scaling.json").write_text(json.dumps(_as_json(found, rows), indent=1) + "\n")
    Path(RESULTS, "scaling.md").write_text(table.markdown(found, rows))
    if chosen.readme:
        _fill_in(chosen.readme, table.markdown(found, rows))
    return 0 if all(row.met for row in rows) else 1


def _fill_in(path: Path, text: str) -> None:
    """Raises OSError and TraceError."""
    try:
        path.write_text(table.put_between(path.read_text(), text))
    except ValueError as error:
        raise TraceError(f"{path}: {error}") from None


def _tell(setting: Setting, one: Contest) -> None:
    ours = one.scores.get(IMGOPTD)
    said = f"{one.over_bound(ours):.2f} of the bound ({one.binds}), {ours.oom_kills} OOM kills" if ours else "done"
    print(f"{setting}: {said}", file=sys.stderr)


def _as_json(found: Mapping[Setting, Contest], rows: Sequence[Row]) -> dict[str, object]:
    demands = [
        {
            "demand": row.demand.text,
            "most": row.demand.most,
            "value": row.value,
            "mean": row.mean,
            "met": row.met,
            "beyond": row.failing,
            "contests": row.contests,
            "worst": row.worst._asdict(),
        }
        for row in rows
    ]
    return {
        "demands": demands,
        "contests": [setting._asdict() | {"jobs": one.jobs} | one.as_json() for setting, one in found.items()],
    }


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.scaling", description=__doc__.split("\n")[0].split(": ", 1)[1])
    known = [*policies()]
    parser.add_argument("names", nargs="*", metavar="TRACE", help=f"some of: {', '.join(traces.BUILDERS)}")
    parser.add_argument("--seeds", type=_count, help=f"how many of them (default: {SEEDS})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds")
    parser.add_argument("--seed", type=int, help="the first; of a trace of a file: in which order files are listed")
    parser.add_argument("--sigma", type=_sigmas, default=(0.2, 0.5), help="of the predictions (default: 0.2,0.5)")
    parser.add_argument("--policies", type=lambda text: text.split(","), default=(), help=f"of {','.join(known)}")
    parser.add_argument("--processes", type=_count, default=2)
    parser.add_argument("--trace", metavar="FILE", help="run this one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--emit", metavar="TRACE", help="print the trace of that name and --seed, instead of running it"
    )
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the tables into it, where its marks stand")
    parser.add_argument("--explain", action="store_true", help="what imgoptd decides over time, on one trace")
    chosen = parser.parse_args(arguments)
    for name in [*chosen.names, *([chosen.emit] if chosen.emit else [])]:
        if name not in traces.BUILDERS:
            parser.error(f"{name}: there is no such trace; there are {', '.join(traces.BUILDERS)}")
    for name in chosen.policies:
        if name not in known:
            parser.error(f"--policies {name}: there is no such policy; there are {', '.join(known)}")
    if chosen.explain and not chosen.trace and len(chosen.names) != 1:
        parser.error("--explain: name one trace, or give its file with --trace")
    return chosen


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: it is a number of at least 1")
    return int(text)


def _sigmas(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: it is one number or several, as in 0.2,0.5") from None
    if min(found) < 0:
        raise argparse.ArgumentTypeError(f"{text}: none is below 0")
    return found


if __name__ == "__main__":
    sys.exit(main())
