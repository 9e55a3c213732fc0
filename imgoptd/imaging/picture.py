"""Decode a picture and reduce it to a fingerprint, so that two decoded pictures never stand in memory together.

Both sides of a comparison go through the same decoder: two decoders may differ by a bit and both be right.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from imgoptd.imaging.failures import Unfit, corrupt, damaged, truncated

STRIP_BYTES = 1 << 20

# Pictures over our own limit never come here, and Pillow's lower one only warns.
Image.MAX_IMAGE_PIXELS = None
# A picture with its end missing must raise, never be filled with grey.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Registers the plugins now: a sandboxed worker could not import them at the first `open`.
Image.preinit()
assert PngImagePlugin


def fingerprint(data: bytes, format_: str, canonical: Callable[[Image.Image], bytes]) -> str:
    """SHA-256 over size and every pixel of a picture, with `canonical` giving the bytes of a strip of rows.

    `format_` is Pillow's name; no other decoder is tried. Raises Unfit (CORRUPT) where the decoder objects, MemoryError
    where memory does not suffice.
    """
    digest = hashlib.sha256()
    try:
        with Image.open(io.BytesIO(data), formats=(format_,)) as image:
            image.load()
            width, height = image.size
            digest.update(f"{width} {height}\n".encode())
            rows = max(1, STRIP_BYTES // (width * 4))
            for top in range(0, height, rows):
                digest.update(canonical(image.crop((0, top, width, min(height, top + rows)))))
    except (MemoryError, Unfit):
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more
        raise _objection(error) from error
    return digest.hexdigest()


def _objection(error: Exception) -> Unfit:
    text = f"the decoder says: {error or type(error).__name__}"
    if "truncated" in str(error):
        return truncated(text)
    if isinstance(error, UnidentifiedImageError):
        return damaged("the decoder does not accept the header")
    return Unfit(corrupt("undecodable", text))
