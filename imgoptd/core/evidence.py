"""What jobs of one kind really took against what was predicted: the last ratios, and what they foretell. Pure.

A ratio is kept as its natural logarithm in thousandths, a whole number: sums over it are exact, whatever their order,
and the store holds what memory holds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import zip_longest
from statistics import median
from typing import NamedTuple

from imgoptd.core.model import Domain

WINDOW = 64
"""Ratios kept of each domain: the last ones."""
ENOUGH = 16
"""With so many of its own a domain learns from no other."""
OTHERS_MOST = 8
"""So many any other domain may lend it meanwhile."""
MOST_DOMAINS = 16
"""Domains that are remembered for a kind; the one that was taught longest ago makes way."""

PRIOR_SPREAD = 0.25
"""How far a ratio is from 1 before anything was seen: the standard deviation of its logarithm."""
PRIOR_JOBS = 4
"""The prior spread weighs as much as so many jobs; the prior centre, ratio 1, as much as one."""
REACH = 3.0
"""What lies further from the median than so many spreads is taken to lie there: an odd job counts, but not for more."""


class Belief(NamedTuple):
    """The distribution of the next job's ratio: log-normal."""

    jobs: int
    centre: float
    """Of the logarithm."""
    spread: float
    """Standard deviation of the logarithm, what is not known of centre and spread included."""
    high: float
    """The ratio seen that no more than a twentieth of the next ones exceeds, however they are distributed."""
    deviation: float
    """Standard deviation of the logarithms that were seen."""

    def ratio(self, deviations: float) -> float:
        """The ratio that many standard deviations above the centre: 0 the median, 1.645 the 95th percentile."""
        return math.exp(self.centre + deviations * self.spread)


def believe(logs: Sequence[int], prior_spread: float = PRIOR_SPREAD) -> Belief:
    """What the ratios foretell, in thousandths of their logarithm and in any order.

    The predictive distribution of a normal with a conjugate prior (Murphy, "Conjugate Bayesian analysis of the Gaussian
    distribution", 2007, section 3), with a normal in place of its t: with few jobs the prior spread is what counts.
    """
    count = len(logs)
    tamed = _winsorised(logs)
    mean = math.fsum(tamed) / count if count else 0.0
    squares = math.fsum((one - mean) ** 2 for one in tamed)
    apart = count / (count + 1) * mean**2
    variance = (PRIOR_JOBS * prior_spread**2 + squares + apart) / (PRIOR_JOBS + count)
    spread = math.sqrt(variance * (1 + 1 / (count + 1)))
    high = math.exp(_upper(tamed, 0.95)) if count else 0.0
    return Belief(count, count / (count + 1) * mean, spread, high, math.sqrt(squares / count) if count else 0.0)


def _winsorised(logs: Sequence[int]) -> list[float]:
    """The logarithms, the outliers among them drawn in."""
    if not logs:
        return []
    middle = median(logs) / 1000
    # 1.4826: what makes a median absolute deviation comparable with the standard deviation of a normal.
    spread = max(PRIOR_SPREAD, 1.4826 * median(abs(one / 1000 - middle) for one in logs))
    least, most = middle - REACH * spread, middle + REACH * spread
    return [min(most, max(least, one / 1000)) for one in logs]


def middle(logs: Sequence[int]) -> float:
    """The median ratio, 1 counted in as one job's."""
    return math.exp(median(logs) / 1000 * len(logs) / (len(logs) + 1)) if logs else 1.0


def upper(logs: Sequence[int], share: float, least_jobs: int) -> float | None:
    """The ratio that this share of them does not exceed, of the next job too; None with fewer than `least_jobs`.

    Nothing is supposed of their distribution: below 1 / (1 - share) of them it is the highest.
    """
    if len(logs) < max(1, least_jobs):
        return None
    return math.exp(_upper(logs, share) / 1000)


def _upper(values: Sequence[float], share: float) -> float:
    rank = math.ceil(share * (len(values) + 1))
    return sorted(values)[min(rank, len(values)) - 1]


class Ratios:
    """The last ratios of one quantity for one kind of job, by trust domain.

    What a domain's jobs took is told by its workers, and one may have been taken over: it must not spoil the
    predictions of others, in neither direction. So each domain learns from its own jobs, and only until it has seen
    ENOUGH from some of each other's.
    """

    def __init__(self, least: float, most: float) -> None:
        """A ratio beyond these bounds is taken for the bound."""
        self._least, self._most = least, most
        self.by_domain: dict[Domain, deque[int]] = {}
        """Those taught last come last."""

    def add(self, domain: Domain, ratio: float) -> None:
        window = self.by_domain.pop(domain, None)
        self.by_domain[domain] = window = deque(maxlen=WINDOW) if window is None else window
        window.append(self._thousandths(ratio))
        if len(self.by_domain) > MOST_DOMAINS:
            del self.by_domain[next(iter(self.by_domain))]

    def restore(self, domain: Domain, logs: Sequence[int]) -> None:
        """Take over what was kept from an earlier run; it must be within the bounds."""
        low, high = self._thousandths(self._least), self._thousandths(self._most)
        kept = [min(high, max(low, one)) for one in logs[-WINDOW:]]
        if kept:
            self.by_domain[domain] = deque(kept, maxlen=WINDOW)

    def of(self, domain: Domain) -> list[int]:
        """What is known for a job of the domain, in thousandths of the logarithm."""
        own = list(self.by_domain.get(domain, ()))
        lack = ENOUGH - len(own)
        if lack > 0:
            others = [logs for other, logs in reversed(self.by_domain.items()) if other != domain]
            newest = [list(logs)[: -OTHERS_MOST - 1 : -1] for logs in others]
            in_turn = [one for round_ in zip_longest(*newest) for one in round_ if one is not None]
            own += in_turn[:lack]
        return own

    def _thousandths(self, ratio: float) -> int:
        return round(1000 * math.log(min(self._most, max(self._least, ratio))))
