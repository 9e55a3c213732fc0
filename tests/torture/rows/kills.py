"""kill -9 of the daemon, a worker, the template or all at random moments under load."""

from __future__ import annotations

import itertools
import time
from collections import Counter

from tests.torture.lanes import side_by_side
from tests.torture.report import Report, say
from tests.torture.rounds import Torture, Verdict

NAME = "kills"
ASKS = "kill -9 of daemon, worker or all at random moments: 0 lost, 0 damaged, 0 done twice, 0 temps left"

BATCH = 20
"""Rounds after which everything is counted."""


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    """Several daemons side by side, each in a folder of its own; the seed of each lane is the next one."""
    end = time.monotonic() + seconds
    report = Report()
    kills: Counter[str] = Counter()
    verdicts: list[Verdict] = []
    seeds = itertools.count(seed)
    batches = itertools.repeat(BATCH) if rounds is None else [BATCH] * -(-rounds // BATCH)

    def batch(torture: Torture, number: int) -> None:
        torture.run(number, settle_every=number)

    def lane() -> Torture:
        torture = Torture(next(seeds), say)
        verdicts.append(torture.verdict)
        return torture

    side_by_side(batches, lane, batch, end)
    for verdict in verdicts:
        report.rounds += verdict.rounds
        report.failures += verdict.failures
        kills += verdict.kills
    report.figures = {f"kills of {what}": str(number) for what, number in kills.most_common()}
    report.figures["killed under load"] = str(sum(verdict.killed_under_load for verdict in verdicts))
    report.figures["files looked at"] = str(sum(verdict.checked for verdict in verdicts))
    return report
