"""One job: read a descriptor, optimise, and write a verified result to another descriptor."""

from __future__ import annotations

import os

from imgoptd.core.model import FailureKind, ImageFacts, JobSettings, Outcome, Verdict
from imgoptd.imaging.failures import Unfit, rejected
from imgoptd.imaging.limits import check_file_size
from imgoptd.imaging.registry import by_name
from imgoptd.imaging.source import read_whole

WRITE_BYTES = 1 << 20


def optimize_descriptors(
    input_descriptor: int, output_descriptor: int, facts: ImageFacts, settings: JobSettings
) -> Outcome:
    """Optimise the input into the empty output. The output holds something of worth only with Verdict.OPTIMIZED.

    `facts` chooses the codec and nothing else: the file is looked at anew. Raises OSError (the input cannot be read,
    the output is full) and MemoryError.
    """
    if facts.leave is not None:
        return Outcome(Verdict.KEPT, failure=facts.leave)
    codec = by_name(facts.format)
    if codec is None:
        return Outcome(Verdict.KEPT, failure=rejected("format-not-supported", f"{facts.format} is not optimised"))
    try:
        check_file_size(os.fstat(input_descriptor).st_size, facts.format)
        result = codec.optimize(read_whole(input_descriptor), settings)
    except Unfit as unfit:
        kept = unfit.failure.kind is FailureKind.REJECTED
        return Outcome(Verdict.KEPT if kept else Verdict.FAILED, failure=unfit.failure)
    write_whole(output_descriptor, result)
    return Outcome(Verdict.OPTIMIZED, size_bytes=len(result))


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of `data` at the descriptor's position. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view[:WRITE_BYTES]) :]
