"""Which trust domain comes first. Static keys: a domain's place changes only when it is served, or its work does.

| rule | by |
|---|---|
| bulk that PASSES starts of fresh drops have passed | before all else, for CLAIM_STARTS starts or CLAIM_S |
| fresh drops | before bulk |
| the folder's priority | each step is worth AGE_S of waiting for a start |
| equals | who received fewer CPU seconds; the domains of a folder share what is the folder's |

A domain whose waiting begins is taken for as well served as the last one of its priority: it asks for no arrears.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import NamedTuple

from imgoptd.core.heap import Heap
from imgoptd.core.model import Domain

AGE_S = 60.0
PASSES = 56
CLAIM_STARTS = 8
"""One in eight after PASSES: in one go, since each change of domain costs the start of a process."""
CLAIM_S = 2.0
REMEMBERED = 4096
"""Domains without work of which it is remembered what they received."""

Urgency = tuple[bool, int]


class Rank(NamedTuple):
    """The least comes first."""

    kind: int
    """-1: passed for long enough; 0: fresh; 1: bulk."""
    level: int
    received_cpu_s: float


class _Standing:
    __slots__ = ("bulk_at", "claim_left", "claim_until_s", "since_s", "urgency")

    def __init__(self, urgency: Urgency, since_s: float, bulk_at: int) -> None:
        self.urgency = urgency
        self.since_s = since_s
        """Since when it waits for a start."""
        self.bulk_at = bulk_at
        """How many fresh drops had been started when it was last served."""
        self.claim_left = 0
        self.claim_until_s = 0.0


class Ranking:
    def __init__(self) -> None:
        self._waiting: dict[Domain, _Standing] = {}
        self._ranks: Heap[Domain] = Heap()
        self._passed: Heap[Domain] = Heap()
        """Those with nothing more urgent than bulk, by how long they have been passed."""
        self._received: dict[Domain, float] = {}
        self._clock: dict[int, float] = {}
        """By priority: what the one last served had received."""
        self._last_s: dict[Domain, float] = {}
        self._per_root: Counter[bytes] = Counter()
        self._fresh_starts = 0

    def update(self, domain: Domain, urgency: Urgency | None, noticed_s: float) -> None:
        """How urgent its most urgent waiting work is now; None: it has none. `noticed_s`: since when, at the latest."""
        standing = self._waiting.get(domain)
        if urgency is None:
            if standing is not None:
                self._leave(domain)
            return
        if standing is None:
            since_s = max(noticed_s, self._last_s.get(domain, noticed_s))
            self._waiting[domain] = _Standing(urgency, since_s, self._fresh_starts)
            self._per_root[domain.root] += 1
            start = self._clock.get(urgency[1], 0.0)
            self._received[domain] = max(start, self._received.get(domain, start))
        elif standing.urgency != urgency:
            standing.urgency = urgency
        self._place(domain)

    def served(self, domain: Domain, *, fresh: bool, cpu_s: float, now_s: float) -> None:
        """A job of this domain was given out; it is among the waiting ones still."""
        standing = self._waiting[domain]
        self._fresh_starts += fresh
        if not fresh:
            if self._is_due(standing):
                standing.claim_left, standing.claim_until_s = CLAIM_STARTS, now_s + CLAIM_S
            standing.claim_left = max(0, standing.claim_left - 1)
        priority = standing.urgency[1]
        received = self._received[domain]
        self._clock[priority] = max(self._clock.get(priority, 0.0), received)
        self._received[domain] = received + cpu_s * self._per_root[domain.root]
        standing.since_s = self._last_s[domain] = now_s
        standing.bulk_at = self._fresh_starts
        self._place(domain)

    def first(self, skip: Container[Domain]) -> Domain | None:
        """The first of all that wait but these."""
        most = len(self._waiting)
        due = self._passed.first(most, lambda one: one not in skip) if self._some_due() else None
        if due is not None and self._is_due(self._waiting[due]):
            return due
        return self._ranks.first(most, lambda one: one not in skip)

    def rank(self, domain: Domain, now_s: float, *, served: bool) -> Rank | None:
        """Where it stands; None when nothing waits. One that is `served` waits for nobody, so that it does not age."""
        standing = self._waiting.get(domain)
        if standing is None:
            return None
        key = self._key(domain, standing, now_s if served else standing.since_s)
        claims = standing.claim_left > 0 and now_s < standing.claim_until_s
        return key._replace(kind=-1) if claims or self._is_due(standing) else key

    def waiting(self) -> list[Domain]:
        return list(self._waiting)

    def _some_due(self) -> bool:
        key = self._passed.head_key()
        return key is not None and self._fresh_starts - int(key[0]) >= PASSES

    def _is_due(self, standing: _Standing) -> bool:
        return standing.urgency[0] and self._fresh_starts - standing.bulk_at >= PASSES

    def _key(self, domain: Domain, standing: _Standing, since_s: float) -> Rank:
        bulk, priority = standing.urgency
        return Rank(int(bulk), priority + int(since_s // AGE_S), self._received[domain])

    def _place(self, domain: Domain) -> None:
        standing = self._waiting[domain]
        self._ranks.push(domain, self._key(domain, standing, standing.since_s))
        if standing.urgency[0]:
            self._passed.push(domain, (standing.bulk_at,))
        else:
            self._passed.remove(domain)

    def _leave(self, domain: Domain) -> None:
        del self._waiting[domain]
        self._ranks.remove(domain)
        self._passed.remove(domain)
        self._per_root[domain.root] -= 1
        if not self._per_root[domain.root]:
            del self._per_root[domain.root]
        if len(self._received) > REMEMBERED + len(self._waiting):
            self._received = {one: self._received[one] for one in self._waiting}
            self._last_s = {one: self._last_s[one] for one in self._waiting if one in self._last_s}
