"""Pictures by the thousand: each content its own, cheap to optimise, and recognised again by its mark."""

from __future__ import annotations

import functools
import io
import random

from PIL import Image

from tests import images
from tests.harness import unique

SEGMENT_BYTES = 60_000
MARK_BYTES = 24
"""Every mark is this long, so that one can be written over another in place."""


@functools.cache
def _bases() -> tuple[bytes, ...]:
    photos = [images.photo(64, 48, seed=seed) for seed in range(4)]
    return tuple(images.jpeg(photo) for photo in photos) + tuple(images.png(photo) for photo in photos[:2])


@functools.cache
def slow_bases() -> tuple[bytes, ...]:
    """Pictures that keep a worker busy for some tens of milliseconds."""
    return (images.jpeg(images.photo(800, 600, seed=90)), images.png(images.photo(200, 150, seed=91)))


def mark_of(number: int) -> bytes:
    return b"<mark %016x>\0" % number


def picture(dice: random.Random, number: int, size: int = 0) -> bytes:
    """A picture with the mark of `number`; with `size`, a JPEG that comments fill up to about so many bytes."""
    base = dice.choice(_bases() if not size else _bases()[:4])
    if size:
        while (lacks := size - len(base)) > 100:
            base = images.with_segment(base, 0xFE, dice.randbytes(min(lacks, SEGMENT_BYTES)))
    return marked(base, number)


def marked(base: bytes, number: int) -> bytes:
    return unique(base, mark_of(number).decode())


def text(dice: random.Random, number: int, size: int) -> bytes:
    """No picture: `size` bytes, of which the first tell the number."""
    head = b"text %d of no picture\n" % number
    return (head + dice.randbytes(max(0, size - len(head))))[:size]


def damage(data: bytes, newest: bytes, number: int) -> str:
    """Why `data` is not the picture of `newest` with the mark of `number`; empty when it is."""
    if data == newest:
        return ""
    if mark_of(number) not in data:
        return f"the mark {number} is not in it"
    try:
        same = _pixels(data) == _pixels(newest)
    except (OSError, SyntaxError, ValueError) as error:
        return f"it is no whole picture: {error}"
    if not same:
        return "it shows another picture"
    return "" if len(data) < len(newest) else f"it grew from {len(newest)} to {len(data)} bytes"


def _pixels(data: bytes) -> tuple[str, bytes]:
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as found:
        return str(found.format), found.convert("RGB").tobytes()
