"""The shortest schedule of a few jobs, by branch and bound: a lower bound that areas cannot give.

What is bounded: each job is there from its arrival on, needs a slot for `seconds` without a gap, and its bytes for the
last part of that, from `ramp` * seconds after its start to its end; what it holds while it grows counts as nothing.
There is a slot for each CPU: no pool here runs more jobs at once than there are CPUs, nor does imgoptd. A job that gets
less than a CPU takes longer, and its last `seconds` still fit this description. So each real schedule is one of these,
cut short, and the optimum of these is never above it. Work that was thrown away only makes it later.

The search runs backwards in time. There a job holds its bytes first, and an arrival becomes a tail: an end at e is
worth e + arrival. With bytes first, a job that is moved earlier never holds more at a moment than before it was moved;
hence some optimum arises when jobs are placed one after the other, in the order of their starts, each as early as it
fits (Sprecher, Kolisch and Drexl, "Semi-active, active, and non-delay schedules for the resource-constrained project
scheduling problem", EJOR 80, 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MOST_JOBS = 30
NODES = 20_000
"""Partial schedules looked at before it gives up: a count, not a time, so that a bound is the same on each machine."""
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Block:
    at_s: float
    seconds: float
    size: int


@dataclass(frozen=True, slots=True)
class Optimum:
    seconds: float
    """From time zero to the end of the last."""
    memory_binds: bool
    """They would be done sooner if there were memory for all at once."""


class _GivenUp(Exception):
    """Too many nodes."""


_Order = Callable[[Block], tuple[float, ...]]
_ORDERS: tuple[_Order, ...] = (
    lambda block: (-block.size, -block.seconds),
    lambda block: (-block.seconds, -block.size),
    lambda block: (-block.size * block.seconds,),
    lambda block: (-block.at_s - block.seconds,),
)


def search(blocks: Sequence[Block], *, slots: int, room: int, ramp: float, nodes: int = NODES) -> Optimum | None:
    """The optimum; None when the search took more nodes than allowed. Each block must fit the room."""
    tree = _Tree(blocks, slots, room, ramp, nodes)
    try:
        seconds = tree.shortest()
    except _GivenUp:
        return None
    roomy = min(_listed(blocks, order, slots, sum(block.size for block in blocks), ramp) for order in _ORDERS)
    return Optimum(seconds, memory_binds=seconds > roomy + _EQUAL)


@dataclass(slots=True)
class _Placed:
    """What runs: until when it holds its bytes, until when its slot."""

    bytes_until: float
    slot_until: float
    size: int


def _fits(placed: Sequence[_Placed], from_s: float, size: int, slots: int, room: int) -> float:
    """The earliest moment, from then on, when there is a slot and room; nothing else starts later than that."""
    moments = sorted({from_s, *(end for one in placed for end in (one.bytes_until, one.slot_until) if end > from_s)})
    for moment in moments:
        held = sum(one.size for one in placed if one.bytes_until > moment)
        taken = sum(1 for one in placed if one.slot_until > moment)
        if taken < slots and held + size <= room:
            return moment
    raise ValueError(f"{size} bytes fit no room of {room}")


def _listed(blocks: Sequence[Block], order: _Order, slots: int, room: int, ramp: float) -> float:
    """The end when at each moment the first of the list that fits is started."""
    left = sorted(blocks, key=order)
    placed: list[_Placed] = []
    now, end = 0.0, 0.0
    while left:
        starts = [_fits(placed, now, block.size, slots, room) for block in left]
        now = min(starts)
        block = left.pop(starts.index(now))
        placed.append(_Placed(now + (1 - ramp) * block.seconds, now + block.seconds, block.size))
        end = max(end, now + block.seconds + block.at_s)
    return end


@dataclass(slots=True)
class _Tree:
    blocks: Sequence[Block]
    slots: int
    room: int
    ramp: float
    nodes: int
    best: float = float("inf")
    loads: list[list[float]] = field(default_factory=list)
    """For each measure of what there is, what each block takes of it: slots, bytes, and whole rooms."""

    def shortest(self) -> float:
        # Those alike stand side by side, and only the first of them that is left is tried.
        self.blocks = sorted(self.blocks, key=lambda block: (-block.size * block.seconds, -block.seconds, -block.at_s))
        stays = 1 - self.ramp
        self.loads = [
            [block.seconds / self.slots for block in self.blocks],
            [stays * block.seconds * block.size / self.room for block in self.blocks],
            # A room has one that is larger than its half, two larger than a third.
            [stays * block.seconds * (2 * block.size > self.room) for block in self.blocks],
            [stays * block.seconds / 2 * min(2, (3 * block.size - 1) // self.room) for block in self.blocks],
        ]
        self.best = min(_listed(self.blocks, order, self.slots, self.room, self.ramp) for order in _ORDERS)
        self._descend(frozenset(range(len(self.blocks))), [], 0.0, 0.0)
        return self.best

    def _descend(self, left: frozenset[int], placed: list[_Placed], last: float, end: float) -> None:
        self.nodes -= 1
        if self.nodes < 0:
            raise _GivenUp
        if not left:
            self.best = min(self.best, end)
            return
        starts = {}
        for index in sorted(left):
            twin = index - 1
            if twin in left and self.blocks[twin] == self.blocks[index]:
                continue
            starts[index] = _fits(placed, last, self.blocks[index].size, self.slots, self.room)
        # What starts only after another could have been and gone leaves a hole that the other fits into.
        soonest = min(start + self.blocks[index].seconds for index, start in starts.items())
        for index, start in sorted(starts.items(), key=lambda item: item[1]):
            if start >= soonest:
                continue
            block = self.blocks[index]
            ends = max(end, start + block.seconds + block.at_s)
            still = [one for one in placed if one.slot_until > start]
            still.append(_Placed(start + (1 - self.ramp) * block.seconds, start + block.seconds, block.size))
            rest = left - {index}
            if max(ends, self._least(rest, still, start)) < self.best - _EQUAL:
                self._descend(rest, still, start, ends)

    def _least(self, left: frozenset[int], placed: Sequence[_Placed], last: float) -> float:
        """No end is earlier, of a schedule that goes on from here."""
        if not left:
            return 0.0
        running = sum(one.slot_until - last for one in placed) / self.slots
        holding = sum(max(0.0, one.bytes_until - last) * one.size for one in placed) / self.room
        least = last + max(self.blocks[index].seconds + self.blocks[index].at_s for index in left)
        for load, before in zip(self.loads, (running, holding, 0.0, 0.0), strict=True):
            total = 0.0
            for index in sorted(left, key=lambda index: -self.blocks[index].at_s):
                total += load[index]
                least = max(least, last + total + self.blocks[index].at_s)
            least = max(least, last + total + before)
        return least
