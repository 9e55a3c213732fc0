"""How imaging says no: one exception that carries the failure as a value.

`Unfit` never leaves this package; `probe` and `optimize` turn it into their answers.
"""

from __future__ import annotations

from imgoptd.core.model import Failure, FailureKind, ImageFacts


class Unfit(Exception):
    """The file cannot or shall not be worked on. `facts` is what was known of it by then, if anything."""

    def __init__(self, failure: Failure, facts: ImageFacts | None = None) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.facts = facts


def rejected(reason: str, detail: str) -> Failure:
    return Failure(FailureKind.REJECTED, reason, detail)


def corrupt(reason: str, detail: str) -> Failure:
    return Failure(FailureKind.CORRUPT, reason, detail)


def unverified(reason: str, detail: str) -> Failure:
    return Failure(FailureKind.UNVERIFIED, reason, detail)


def exhausted(detail: str) -> Failure:
    return Failure(FailureKind.EXHAUSTED, "memory", detail)


def truncated(detail: str) -> Unfit:
    """The bytes end before the picture does."""
    return Unfit(corrupt("truncated", detail))


def damaged(detail: str) -> Unfit:
    """The bytes contradict the format."""
    return Unfit(corrupt("damaged", detail))
