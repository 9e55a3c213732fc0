"""Where a file is too much for us, whatever its format."""

from __future__ import annotations

from imgoptd.core.model import ImageFacts
from imgoptd.imaging.failures import Unfit, corrupt, rejected

MAX_PIXELS = 500_000_000
MAX_METADATA_BYTES = 64 << 20
MAX_FILE_BYTES = 1 << 30
"""Of a file that a codec has to hold whole; recognising another format reads a few KiB of any size."""
MAX_PARTS = 200_000
"""Segments or chunks. Real files have at most some thousand; a million tiny ones only cost time."""


def check_file_size(size: int, format_: str) -> None:
    """Raise Unfit (REJECTED) for a file over MAX_FILE_BYTES."""
    if size > MAX_FILE_BYTES:
        detail = f"the file is {size} bytes long; more than {MAX_FILE_BYTES} are not worked on"
        raise Unfit(rejected("too-large", detail), ImageFacts(format_))


def check_dimensions(facts: ImageFacts) -> None:
    """Raise Unfit for a picture without area (CORRUPT) or over MAX_PIXELS (REJECTED)."""
    if facts.width < 1 or facts.height < 1:
        raise Unfit(corrupt("damaged", f"the header says {facts.width} x {facts.height} pixels"))
    if facts.pixels > MAX_PIXELS:
        detail = f"{facts.width} x {facts.height} pixels are more than the {MAX_PIXELS // 1_000_000} megapixels allowed"
        raise Unfit(rejected("too-many-pixels", detail), facts)


def check_parts(count: int, metadata_bytes: int, facts: ImageFacts) -> None:
    """Raise Unfit (REJECTED) for more parts or metadata than any real file has."""
    if count > MAX_PARTS:
        raise Unfit(rejected("too-many-parts", f"the file has more than {MAX_PARTS} segments"), facts)
    if metadata_bytes > MAX_METADATA_BYTES:
        detail = f"the metadata is longer than {MAX_METADATA_BYTES >> 20} MiB"
        raise Unfit(rejected("metadata-too-large", detail), facts)
