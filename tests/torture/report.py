"""What a row of the torture brings back, and what that proves."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

SAID = 20
"""Failures of a run that are told in full; of the others the number says enough."""


@dataclass(slots=True)
class Report:
    """One run of one row."""

    rounds: int = 0
    """Trials that were made and looked at."""
    failures: list[str] = field(default_factory=list)
    """A sentence each, with what is needed to see it again."""
    figures: dict[str, str] = field(default_factory=dict)
    """What else was measured, by its name, with its unit."""

    def fail(self, sentence: str) -> None:
        self.failures.append(sentence)
        if len(self.failures) <= SAID:
            say(f"FAILED: {sentence}")


class CannotRun(Exception):
    """This machine lacks what the row needs; str() says what. The row is named with it and not counted."""


def say(sentence: str) -> None:
    """Progress: on standard error, so that the table stands alone on standard output."""
    print(sentence, file=sys.stderr, flush=True)


def bound(rounds: int) -> float:
    """What never happened in N independent trials happens, with 95 % confidence, in fewer than 3/N of them."""
    return min(1.0, 3 / rounds) if rounds else 1.0
