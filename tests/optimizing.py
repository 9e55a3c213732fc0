"""One whole job through descriptors, for tests."""

from __future__ import annotations

import os

from imgoptd.core.model import Failure, FailureKind, JobSettings, Outcome, Verdict
from imgoptd.imaging.optimize import optimize_descriptors
from imgoptd.imaging.probe import probe_descriptor
from tests import images
from tests.memory import memory_file

ANY_SAVING = JobSettings(min_saving=0.0)
GOOD = images.good()


def run(data: bytes, settings: JobSettings = ANY_SAVING) -> tuple[Outcome, bytes]:
    """Probe and optimise; the outcome and what stands in the output then."""
    with memory_file(data) as given, memory_file() as target:
        facts = probe_descriptor(given)
        if isinstance(facts, Failure):
            return Outcome(Verdict.FAILED, failure=facts), b""
        outcome = optimize_descriptors(given, target, facts, settings)
        return outcome, os.pread(target, 1 << 26, 0)


def reason(data: bytes) -> tuple[FailureKind, str]:
    outcome, result = run(data)
    assert outcome.failure is not None
    assert result == b""
    return outcome.failure.kind, outcome.failure.reason
