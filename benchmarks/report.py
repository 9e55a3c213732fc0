"""Medians, spreads and ratios, as a table and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, float]

COLUMNS = (("wall_s", "wall s", 1.0), ("cpu_s", "CPU s", 1.0), ("peak_pss_bytes", "peak MB", 1e6))


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Median, lowest and highest of each figure."""
    return {
        key: {
            "median": statistics.median(row[key] for row in rows),
            "min": min(row[key] for row in rows),
            "max": max(row[key] for row in rows),
        }
        for key in rows[0]
    }


def ratios(rows: Sequence[Row], others: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Of each pair that ran one after the other: identical work here spreads too far to compare across pairs."""
    pairs = [
        {key: row[key] / other[key] for key, _, _ in COLUMNS if other[key]}
        for row, other in zip(rows, others, strict=True)
    ]
    return summary(pairs)


def table(results: Mapping[str, Any]) -> str:
    lines = [f"{'':22}{'wall s':>22}{'CPU s':>22}{'peak MB (PSS)':>22}{'largest MB':>12}{'saved MB':>10}{'saved %':>9}"]
    for name, rows in results["runs"].items():
        told = summary(rows)
        cells = [_spread(told[key], scale) for key, _, scale in COLUMNS]
        saved, before = told["saved"]["median"], told["before"]["median"]
        largest = told["peak_process_bytes"]["median"] / 1e6
        line = f"{name:22}{cells[0]:>22}{cells[1]:>22}{cells[2]:>22}{largest:12.1f}{saved / 1e6:10.2f}"
        lines.append(f"{line}{100 * saved / before:9.2f}")
    for name, told in results["ratios"].items():
        cells = [_spread(told[key], 1.0) for key, _, _ in COLUMNS]
        lines.append(f"{name:22}{cells[0]:>22}{cells[1]:>22}{cells[2]:>22}")
    return "\n".join(lines)


def _spread(told: Mapping[str, float], scale: float) -> str:
    digits = 1 if told["median"] / scale >= 10 else 2
    low, middle, high = (told[key] / scale for key in ("min", "median", "max"))
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def machine() -> dict[str, Any]:
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
