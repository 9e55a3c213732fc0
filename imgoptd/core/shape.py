"""The shape of the backlog: how much waits in each folder, for how long, as Postfix's qshape(1) shows its queue."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

AGES_S = (60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
"""Upper bounds of the columns; a last one holds what is older."""


@dataclass(slots=True)
class Row:
    ages: list[int] = field(default_factory=lambda: [0] * (len(AGES_S) + 1))
    """Files by age, a column for each of AGES_S and one for the rest."""
    states: Counter[str] = field(default_factory=Counter)
    oldest_s: float = 0.0

    def count(self, age_s: float, state: str) -> None:
        self.ages[bisect_left(AGES_S, age_s)] += 1
        self.states[state] += 1
        self.oldest_s = max(self.oldest_s, age_s)


def shape(files: Iterable[tuple[bytes, float, str]], now_s: float) -> dict[bytes, Row]:
    """A row for each folder that anything waits in, from (folder, waits since, state) of each file."""
    rows: dict[bytes, Row] = {}
    for root, since_s, state in files:
        rows.setdefault(root, Row()).count(max(0.0, now_s - since_s), state)
    return rows
