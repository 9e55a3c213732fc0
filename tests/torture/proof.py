"""Was a file ever taken for complete while it was not? What the daemon wrote down against what the writer knows.

Three independent witnesses: the moment in which the daemon called the file complete lies in a time in which its writer
was not done; the size that it saw then is that of no complete content; what it read and judged was no complete content.
Pure: a life and a truth in, sentences out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from imgoptd.core.text import show_bytes

LAG_MS = 1000.0
"""A step bears the time of its commit, which comes after the decision: a decision made just before a file was opened
anew may be written down that much later. A file that has just been created has no such past."""

FINE = frozenset({"", "not-smaller", "known", "own-result", "optimized", "hard-linked", "vanished"})
"""Reasons that a whole and sound picture may end with; any other tells of something else that was read."""


class Step(NamedTuple):
    wall_ms: int
    step: str
    text: str


class Receipt(NamedTuple):
    before_sha256: str
    after_sha256: str
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True)
class Life:
    """What the daemon has written down of one file."""

    state: str
    reason: str
    sha256: str
    steps: tuple[Step, ...] = ()
    receipts: tuple[Receipt, ...] = ()


class Content(NamedTuple):
    sha256: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> Content:
        return cls(hashlib.sha256(data).hexdigest(), len(data))


@dataclass(slots=True)
class Truth:
    """What the writer of one file knows."""

    contents: list[Content] = field(default_factory=list)
    """All that were ever complete at the path, the newest last."""
    unready_ms: list[tuple[float, float]] = field(default_factory=list)
    """Wall-clock times (Unix, ms) between which the file was not complete, whatever was seen of it. The first begins at
    0 where the file was created incomplete."""
    picture: bool = True
    """A whole, sound picture that is optimised: it ends as nothing else."""


def judge(life: Life, truth: Truth) -> list[str]:
    """Every sign that something incomplete was taken for complete; empty when there is none."""
    return _by_time(life, truth) + _by_size(life, truth) + _by_content(life, truth)


def newest_or_its_result(data: bytes, life: Life, newest: Content) -> bool:
    """Does the path hold the newest content, or what a receipt says was made of it (by way of several, perhaps)?"""
    found, made_of = Content.of(data).sha256, {one.after_sha256: one.before_sha256 for one in life.receipts}
    for _ in range(len(made_of) + 1):
        if found == newest.sha256:
            return True
        found = made_of.get(found, "")
    return False


def _completions(life: Life) -> list[Step]:
    return [step for step in life.steps if step.step == "queued" and step.text.startswith("complete, ")]


def _by_time(life: Life, truth: Truth) -> list[str]:
    return [
        f"called {step.text!r} {end - step.wall_ms:.0f} ms before its writer was done"
        for step in _completions(life)
        for begin, end in truth.unready_ms
        if (begin + LAG_MS if begin else 0) <= step.wall_ms < end - 1  # steps bear whole milliseconds
    ]


def _by_size(life: Life, truth: Truth) -> list[str]:
    sizes = {one.size for one in truth.contents} | {receipt.bytes_after for receipt in life.receipts}
    shown = {f"complete, {show_bytes(size)}" for size in sizes}
    return [
        f"called {step.text!r}, but was never whole at that size ({', '.join(sorted(shown))})"
        for step in _completions(life)
        if step.text not in shown
    ]


def _by_content(life: Life, truth: Truth) -> list[str]:
    results = {receipt.after_sha256 for receipt in life.receipts}
    whole = {one.sha256 for one in truth.contents} | results | {""}
    found = [
        f"a result was made of a content ({receipt.before_sha256[:12]}) that was never whole"
        for receipt in life.receipts
        if receipt.before_sha256 not in whole
    ]
    if life.sha256 not in whole:
        found.append(f"its row speaks of a content ({life.sha256[:12]}) that was never whole")
    if truth.picture:
        found += [
            f"judged {step.step} ({step.text})"
            for step in life.steps
            if step.step == "quarantined" or (step.step == "skipped" and step.text.split(":")[0] not in FINE)
        ]
    return found
