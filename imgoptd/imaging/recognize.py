"""Tell image formats apart by their first bytes, never by a name. Codecs of their own do this for their formats."""

from __future__ import annotations

import re

HEAD_BYTES = 4096
"""What `recognize` wants to see; an SVG may begin with a long comment."""

_SVG = re.compile(
    rb"""(?:\xef\xbb\xbf)?+
    (?:
        \s
        | <\?xml [^>]*+ >
        | (?> <!-- .*? --> )
        | <!DOCTYPE \s++ svg [^\[>]*+ (?: \[ [^\]]*+ \] \s*+ )?+ >  # it may declare entities between brackets
    )*+
    < (?: \w++ : )?+ svg [\s>]""",
    re.DOTALL | re.VERBOSE,
)
"""Possessive and atomic throughout: what was once passed is never tried again, so no file takes long to tell."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
)

_BMP_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})

_BRANDS: dict[bytes, str] = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "heic"),
}
"""Brands of ISO 23000-22 (HEIF) and of the AV1 image file format; mif1 is the generic one and decides last."""


def recognize(head: bytes) -> str | None:
    """The format of a file that begins with `head`, or None. Knows formats without a codec here."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _iso_brand(head)
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return "bmp"
    return "svg" if _SVG.match(head) else None


def _iso_brand(head: bytes) -> str | None:
    """The image format that an ISO base media file's `ftyp` box names, or None for films and sound."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    named = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if "avif" in named:
        return "avif"
    return named[0] if named and brands[0] in _BRANDS else None
