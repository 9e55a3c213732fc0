"""What an honest worker may answer. A worker may have been taken over by the file that it decoded."""

from __future__ import annotations

import math

from imgoptd.core.model import Effort, Failure, ImageFacts
from imgoptd.wire import messages as m

MOST_COUNT = (1 << 32) - 1
"""Pixels of an edge, and frames: headers have four bytes for them, whatever their format allows."""
MOST_BYTES = 1 << 48
MOST_WORD = 64
"""Characters of a format's name or a reason."""
MOST_DETAIL = 4096


def is_plausible(reply: m.ProbeReply | m.OptimizeReply) -> bool:
    """Could this be true of some file? What goes on from here is reckoned with and stored for all files."""
    if isinstance(reply, m.ProbeReply):
        return _are_facts(reply.facts) and _is_failure(reply.failure)
    outcome = reply.outcome
    return 0 <= outcome.size_bytes <= MOST_BYTES and _is_failure(outcome.failure) and _is_effort(outcome.effort)


def _are_facts(facts: ImageFacts | None) -> bool:
    if facts is None:
        return True
    counts = (facts.width, facts.height, facts.frames)
    samples = (facts.depth_bits, facts.channels)
    words = max(len(facts.format), len(facts.sampling)) <= MOST_WORD and _is_failure(facts.leave)
    return words and all(0 <= count <= MOST_COUNT for count in counts) and all(0 <= sample <= 256 for sample in samples)


def _is_failure(failure: Failure | None) -> bool:
    return failure is None or (len(failure.reason) <= MOST_WORD and len(failure.detail) <= MOST_DETAIL)


def _is_effort(effort: Effort) -> bool:
    seconds = (effort.cpu_s, effort.wall_s)
    return 0 <= effort.peak_bytes <= MOST_BYTES and all(math.isfinite(one) and 0 <= one <= 1e6 for one in seconds)
