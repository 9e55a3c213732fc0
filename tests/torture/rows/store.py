"""Damage to the files of the store, and kills, one at a time."""

from __future__ import annotations

from tests.torture import store_damage
from tests.torture.report import Report

NAME = "store"
ASKS = "store bit flips, truncation, missing log: each is said or changes nothing, and a kill is none of them"


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    report = Report()
    report.rounds, failures = store_damage.run(seconds, seed, rounds)
    for failure in failures:
        report.fail(failure)
    return report
