"""`python -m benchmarks [--corpus FOLDER] [--runs N] [--json FILE]`: imgoptd --once against a bare loop."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import corpus, measure, report, runners

RESULTS = Path(__file__).parent / "results"

Runner = Callable[[Path, int], measure.Effort]

RUNNERS: dict[str, Runner] = {
    "imgoptd --once": runners.daemon,
    "bare": lambda folder, processes: runners.bare(folder, processes, verify=False),
    "bare, verified": lambda folder, processes: runners.bare(folder, processes, verify=True),
}
"""In the order of a round: the daemon stands next to what it is compared with."""


def main() -> int:
    chosen = arguments()
    measure.become_subreaper()
    with tempfile.TemporaryDirectory(prefix="imgoptd-bench-", dir=chosen.scratch) as scratch:
        source = chosen.corpus
        if source is None:
            source = Path(scratch, "corpus")
            corpus.small(source)
        results = contest(source, Path(scratch), chosen.runs, chosen.processes)
    results["corpus"] |= {"name": chosen.corpus.name if chosen.corpus else "made and found here"}
    results["idle"] = runners.idle_memory()
    show(results)
    target = chosen.json or RESULTS / f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {target}")
    return 0


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--corpus", type=Path, help="folder of images (default: a small set is made)")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--json", type=Path, help="where to write the figures (default: benchmarks/results/)")
    options.add_argument("--scratch", type=Path, help="folder for the copies (default: the temporary folder)")
    return options.parse_args()


def contest(source: Path, scratch: Path, runs: int, processes: int) -> dict[str, Any]:
    """Every runner once a round, over fresh copies of the corpus."""
    files = sum(1 for path in source.rglob("*") if path.is_file())
    before = corpus.sizes(source)
    told: dict[str, list[dict[str, float]]] = {name: [] for name in RUNNERS}
    for number in range(1, runs + 1):
        for name, runner in RUNNERS.items():
            folder = scratch / "work"
            corpus.copy(source, folder)
            load = os.getloadavg()[0]  # above the previous runner's own share, somebody else was at work
            effort = runner(folder, processes)
            told[name].append(figures(effort, before, corpus.sizes(folder)) | {"load_before": load})
            shutil.rmtree(folder)
            print(f"round {number}, {name}: {effort.wall_s:.2f} s wall, {effort.cpu_s:.2f} s CPU", file=sys.stderr)
    ours = told["imgoptd --once"]
    return {
        "machine": report.machine(),
        "corpus": {"files": files, "bytes": before},
        "settings": {"processes": processes, "settle": runners.SETTLE, "runs": runs},
        "runs": told,
        "ratios": {f"daemon / {name}": report.ratios(ours, told[name]) for name in RUNNERS if name != "imgoptd --once"},
    }


def figures(effort: measure.Effort, before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    return {
        "wall_s": effort.wall_s,
        "cpu_s": effort.cpu_s,
        "peak_pss_bytes": effort.peak_pss_bytes,
        "peak_process_bytes": effort.peak_process_bytes,
        "before": before["jpeg"] + before["png"],
        "saved": before["all"] - after["all"],
        "saved_jpeg": before["jpeg"] - after["jpeg"],
        "saved_png": before["png"] - after["png"],
        **effort.extra,
    }


def show(results: dict[str, Any]) -> None:
    settings, sizes = results["settings"], results["corpus"]["bytes"]
    print(
        f"{results['corpus']['files']} files ({results['corpus']['name']}), {sizes['jpeg'] / 1e6:.1f} MB JPEG, "
        f"{sizes['png'] / 1e6:.1f} MB PNG, {sizes['other'] / 1e6:.1f} MB that nobody works on; "
        f"{settings['processes']} processes, settle {settings['settle']}, {settings['runs']} rounds: median (min-max)"
    )
    print(report.table(results))
    for name in ("bare", "bare, verified"):
        balance = [run["loop_wall_s"] / (run["codec_cpu_s"] / run["processes"]) for run in results["runs"][name]]
        print(f"{name}: its wall over its codecs' CPU a process: {min(balance):.3f}-{max(balance):.3f}")
    idle = results["idle"]
    print(
        f"idle, no worker: daemon {idle['daemon_pss_bytes'] / 1e6:.1f} MB PSS, "
        f"all {idle['processes']} processes {idle['tree_pss_bytes'] / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
