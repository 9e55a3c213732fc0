"""What an exception within a task is taken for."""

from __future__ import annotations

import errno

import pytest

from imgoptd.core.model import Failure, FailureKind
from imgoptd.worker.loop import failure_of


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (MemoryError(), FailureKind.EXHAUSTED, "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), FailureKind.TRANSIENT, "no-space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), FailureKind.TRANSIENT, "no-space"),
        (OSError(errno.EIO, "Input/output error"), FailureKind.TRANSIENT, "io"),
    ],
)
def test_errors_of_the_surroundings_are_not_blamed_on_the_file(
    error: Exception, kind: FailureKind, reason: str
) -> None:
    failure = failure_of(error)
    assert (failure.kind, failure.reason) == (kind, reason)


def test_an_unforeseen_error_is_blamed_on_the_bytes_that_brought_it_about() -> None:
    assert failure_of(ZeroDivisionError("by zero")) == Failure(
        FailureKind.CORRUPT, "codec-error", "ZeroDivisionError: by zero"
    )


def test_the_detail_of_a_failure_stays_short_whatever_the_error_says() -> None:
    assert len(failure_of(ValueError("x" * 100_000)).detail) <= 500
