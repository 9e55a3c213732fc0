"""From what is reserved for a job to what the kernel can refuse it.

A reservation is of resident memory above the idle worker. RLIMIT_DATA (getrlimit(2)) refuses private writable mappings,
touched or not, and knows nothing of the pages of libraries that become resident. How the two grow together is the
codec's habit, and was measured (ARCHITECTURE.md).
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 1 << 20


class Mapped(NamedTuple):
    """What a codec maps where it makes `resident` bytes resident: at most `factor * resident + slack_bytes`."""

    factor: float
    slack_bytes: int


MAPPED = {"jpeg": Mapped(1.3, 4 * MIB), "png": Mapped(1.55, 8 * MIB)}
"""MozJPEG doubles the room for each scan that it tries, and fills a part of it: what counts in photos full of noise."""
UNKNOWN = Mapped(1.6, 32 * MIB)


def data_growth_bytes(format_: str, reserved_bytes: int) -> int:
    """How much more data than when it is idle a worker may map for a job of this format and reservation.

    Enough for every job that stays within its reservation. What goes a third beyond it is refused memory, or a tenth
    where the codec maps most; the slack counts in small jobs alone.
    """
    mapped = MAPPED.get(format_, UNKNOWN)
    return int(mapped.factor * reserved_bytes) + mapped.slack_bytes
