"""kill -9 of the daemon, a worker, the template or all at random moments under load."""

from __future__ import annotations

import time

from tests.torture.report import Report, say
from tests.torture.rounds import Torture

NAME = "kills"
ASKS = "kill -9 of daemon, worker or all at random moments: 0 lost, 0 damaged, 0 done twice, 0 temps left"

BATCH = 10
"""Rounds after which everything is counted."""


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    end = time.monotonic() + seconds
    with Torture(seed, say) as torture:
        verdict = torture.verdict
        while time.monotonic() < end and (rounds is None or verdict.rounds < rounds):
            torture.run(BATCH if rounds is None else min(BATCH, rounds - verdict.rounds))
    figures = {f"kills of {what}": str(number) for what, number in verdict.kills.most_common()}
    figures["killed under load"] = str(verdict.killed_under_load)
    figures["files looked at"] = str(verdict.checked)
    return Report(verdict.rounds, verdict.failures, figures)
