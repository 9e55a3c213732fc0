"""What a job takes by what is known of its file alone: format, way of coding, size. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imgoptd.core.model import FileRecord, ImageFacts

MIB = 1 << 20

START_BYTES = 4 * MIB
"""What the smallest job takes: code and tables that are touched for the first time."""

UNKNOWN_SPREAD = 0.25
MEASURED_SPREAD = 0.1
"""Of what follows from how the codec works and was measured; a few hundredths would do but for small pictures."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a job takes by what is known of its file alone, before anything was learned."""

    memory_bytes: float
    cpu_s: float
    spread: float = UNKNOWN_SPREAD
    """How far from it the memory may be: the standard deviation of the logarithm of actual ÷ predicted."""


Predict = Callable[[FileRecord], Prediction]
"""Of a file that was probed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way of coding costs; memory in bytes above the idle worker, CPU in seconds of one core."""

    base_bytes: int
    """What does not depend on the picture. Small ones do not come to need all of it:"""
    base_bytes_per_pixel: float
    """it is START_BYTES and so much for each pixel, `base_bytes` at most."""
    bytes_per_pixel: float
    bytes_per_sample: float
    """Of each channel of each pixel, as often as it is bytes deep."""
    copies: float
    """Times the size of the file."""
    cpu_base_s: float
    cpu_s_per_megapixel: float


# Measured on Debian 12 with simplejpeg 1.9, Pillow 13, mozjpeg-lossless-optimization 1.3.2 and pyoxipng 9.1.1 by
# benchmarks/estimates.py (see ARCHITECTURE.md): each row covers the measured points of its operation, the strict decode
# before and the comparison after included.
COSTS: dict[tuple[str, bool], Cost] = {
    ("png", False): Cost(8 * MIB, 64.0, 3.9, 3.3, 3.0, 0.008, 1.0),
    ("png", True): Cost(8 * MIB, 64.0, 8.0, 4.0, 3.0, 0.008, 1.0),
}
UNKNOWN_COST = Cost(16 * MIB, 64.0, 8.0, 6.0, 3.0, 0.01, 2.0)
UNKNOWN_CHANNELS = 4


# Of a JPEG two steps may take most. MozJPEG holds all coefficients (two bytes each, as many as there are samples in the
# file), the picture as it was, and the scans that it tries. The comparison holds the coefficients of its progressive
# result, that result twice, and the decoded pixels.
JPEG_COEFFICIENT_BYTES = 2
JPEG_PACKED_COPIES, JPEG_COMPARED_COPIES = 10.0, 2.0
JPEG_BASE_BYTES = 4 * MIB
JPEG_CPU_BASE_S, JPEG_CPU_S_PER_MEGASAMPLE, JPEG_CPU_S_PER_MIB = 0.002, 0.018, 0.2
JPEG_PROGRESSIVE_CPU = 1.2
"""Of a progressive picture, against a baseline one of as many bytes."""
_COLOURS = {"4:4:4": 1.0, "4:2:2": 0.5, "4:4:0": 0.5, "4:2:0": 0.25, "4:1:1": 0.25}
"""Samples of the two colours together, for each two pixels; what is not known is taken to be whole."""

PICTURE_BASE_BYTES, PICTURE_COPIES = 8 * MIB, 3.0
PICTURE_CPU_BASE_S, PICTURE_CPU_S_PER_MEGASAMPLE = 0.003, 0.08


def predict(record: FileRecord) -> Prediction:
    """What the job will take. Memory is the peak above the idle worker."""
    facts = record.facts
    assert facts is not None
    if facts.format == "jpeg":
        return _jpeg(facts, record.identity.size)
    cost = COSTS.get((facts.format, facts.progressive), UNKNOWN_COST)
    pixels, depth = facts.pixels, max(1.0, facts.depth_bits / 8)
    memory = min(cost.base_bytes, START_BYTES + cost.base_bytes_per_pixel * pixels)
    memory += (cost.bytes_per_pixel + cost.bytes_per_sample * (facts.channels or UNKNOWN_CHANNELS)) * pixels * depth
    memory += cost.copies * record.identity.size
    return Prediction(float(memory), cost.cpu_base_s + cost.cpu_s_per_megapixel * pixels / 1e6)


def by_picture(record: FileRecord) -> Prediction:
    """By the bytes of the decoded picture alone: what else is to be known of the format is for learning to find."""
    facts = record.facts
    assert facts is not None
    samples = facts.pixels * (facts.channels or UNKNOWN_CHANNELS)
    memory = PICTURE_BASE_BYTES + PICTURE_COPIES * samples * max(1.0, facts.depth_bits / 8)
    return Prediction(memory, PICTURE_CPU_BASE_S + PICTURE_CPU_S_PER_MEGASAMPLE * samples / 1e6)


def _jpeg(facts: ImageFacts, size_bytes: int) -> Prediction:
    channels = facts.channels or UNKNOWN_CHANNELS
    whole = channels if channels < 3 else channels - 2
    samples = facts.pixels * (whole + (channels - whole) * _COLOURS.get(facts.sampling, 1.0))
    coefficients = JPEG_COEFFICIENT_BYTES * samples
    packing = coefficients + JPEG_PACKED_COPIES * size_bytes
    comparing = coefficients + channels * facts.pixels + JPEG_COMPARED_COPIES * size_bytes
    work_s = JPEG_CPU_S_PER_MEGASAMPLE * samples / 1e6 + JPEG_CPU_S_PER_MIB * size_bytes / MIB
    cpu_s = JPEG_CPU_BASE_S + work_s * (JPEG_PROGRESSIVE_CPU if facts.progressive else 1.0)
    known = bool(facts.sampling) or channels < 3
    return Prediction(JPEG_BASE_BYTES + max(packing, comparing), cpu_s, MEASURED_SPREAD if known else UNKNOWN_SPREAD)
