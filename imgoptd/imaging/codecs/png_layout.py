"""The layout of a PNG (third edition): its chunks, and why a file is left alone. Parsed strictly, decoded never."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from imgoptd.core.model import Failure, ImageFacts
from imgoptd.imaging.failures import Unfit, corrupt, damaged, rejected, truncated
from imgoptd.imaging.limits import check_dimensions, check_parts
from imgoptd.imaging.source import Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEFLATE_RATIO = 1032
"""Deflate cannot expand further than this: fewer bytes cannot hold the picture."""

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}

CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
BOUND_TO_SAMPLES = frozenset({b"bKGD", b"sBIT", b"hIST", b"pCAL"})
"""Their meaning depends on colour type, depth or palette."""
BOUND_TO_COLOUR = frozenset({b"iCCP", b"cICP"})
"""They say something else, or nothing valid, when grey becomes colour or the other way round."""
BOUND_TO_STREAM = frozenset({b"iDOT"})
"""Apple's byte offsets into the compressed data: a part of the encoding, wrong after any repacking, so left out."""
KNOWN = frozenset(
    {
        b"tRNS",
        b"cHRM",
        b"gAMA",
        b"sRGB",
        b"sPLT",
        b"pHYs",
        b"tIME",
        b"tEXt",
        b"zTXt",
        b"iTXt",
        b"eXIf",
        b"mDCV",
        b"cLLI",
    }
    | {b"oFFs", b"sCAL", b"sTER", b"gIFg", b"gIFx", b"gIFt"}
    | BOUND_TO_SAMPLES
    | BOUND_TO_COLOUR
    | BOUND_TO_STREAM
)


class Chunk(NamedTuple):
    kind: bytes
    start: int
    """Of its length field."""
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    facts: ImageFacts
    colour_type: int
    chunks: tuple[Chunk, ...]

    @property
    def is_colour(self) -> bool:
        return self.colour_type in (RGB, PALETTE, RGBA)

    def is_picture(self, kind: bytes) -> bool:
        """Does the decoder need this chunk? A palette beside RGB is a mere suggestion to the viewer."""
        return kind in (b"IHDR", b"IDAT", b"tRNS") or (kind == b"PLTE" and self.colour_type == PALETTE)

    def is_metadata(self, kind: bytes) -> bool:
        return not self.is_picture(kind) and kind != b"IEND" and kind not in BOUND_TO_STREAM

    def has(self, kinds: frozenset[bytes]) -> bool:
        return any(chunk.kind in kinds for chunk in self.chunks)


def parse(source: Source) -> Layout:
    """Walk over the chunk headers up to the end of the file; bodies, but for the header's, are not read.

    Raises Unfit: CORRUPT for a damaged or truncated stream, REJECTED over a limit.
    """
    facts, colour_type = _header(source)
    leave: Failure | None = None
    if facts.depth_bits == 16 and colour_type != GREY:
        leave = rejected("unverifiable-depth", "colour and alpha of 16 bits a sample cannot be compared yet")
    chunks: list[Chunk] = []
    at, data_bytes, metadata_bytes = len(SIGNATURE), 0, 0
    while not chunks or chunks[-1].kind != b"IEND":
        chunk = _next_chunk(source, at)
        at = chunk.end
        if chunk.kind == b"IDAT":
            if data_bytes and chunks[-1].kind != b"IDAT":
                raise damaged("the picture's data is interrupted by another chunk")
            data_bytes += chunk.end - chunk.start
        else:
            metadata_bytes += chunk.end - chunk.start
            leave = leave or _reason_in_chunk(chunk.kind, facts)
            if chunk.kind == b"tRNS":
                leave = leave or _reason_in_transparency(source, chunk, chunks, facts, colour_type)
        chunks.append(chunk)
        check_parts(len(chunks), metadata_bytes, facts)
    layout = Layout(facts, colour_type, tuple(chunks))
    _check_order(layout)
    if data_bytes * DEFLATE_RATIO < facts.height * (1 + facts.width * facts.depth_bits * facts.channels // 8):
        raise truncated(f"{data_bytes} bytes of data cannot hold {facts.width} x {facts.height} pixels")
    if at < source.size:
        leave = leave or rejected("trailer", f"{source.size - at} bytes follow the end of the picture")
    return replace(layout, facts=replace(facts, leave=leave))


def _header(source: Source) -> tuple[ImageFacts, int]:
    head = source.read(len(SIGNATURE), 25)
    if len(head) < 25:
        raise truncated("the file ends within its header")
    if head[:8] == b"\0\0\0\x04CgBI":
        raise Unfit(_variant("it is Apple's CgBI form"), ImageFacts("png"))
    if head[:8] != b"\0\0\0\x0dIHDR":
        raise damaged("the first chunk is not the header")
    depth, colour_type, compression, filtering, interlace = head[16:21]
    if depth not in DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
        raise damaged("the header holds impossible values")
    facts = ImageFacts(
        "png",
        width=int.from_bytes(head[8:12], "big"),
        height=int.from_bytes(head[12:16], "big"),
        depth_bits=depth,
        channels=CHANNELS[colour_type],
        progressive=bool(interlace),
    )
    check_dimensions(facts)
    return facts, colour_type


def _next_chunk(source: Source, at: int) -> Chunk:
    head = source.read(at, 8)
    if len(head) < 8:
        raise truncated("the file ends before the end-of-image chunk")
    kind, end = head[4:], at + 12 + int.from_bytes(head[:4], "big")
    if not (kind.isalpha() and kind.isascii()):
        raise damaged(f"no chunk begins at byte {at}")
    if end > source.size:
        raise truncated(f"the chunk {kind.decode()} at byte {at} ends behind the file")
    return Chunk(kind, at, end)


def _reason_in_chunk(kind: bytes, facts: ImageFacts) -> Failure | None:
    """Why a file with this chunk is left alone."""
    if kind == b"acTL":
        return rejected("animated", "the file is an animation (APNG)")
    if kind in (b"caBX", b"dSIG"):
        return rejected("signed-content", "the file is signed; a rewrite would break its signature")
    if kind == b"tRNS" and facts.depth_bits == 16:
        return rejected("unverifiable-depth", "transparency of 16 bits a sample cannot be compared yet")
    # Bit 5 of the first letter marks ancillary chunks, of the last one those that survive a change of the data.
    if kind not in CRITICAL | KNOWN and (kind[:1].isupper() or kind[3:].isupper()):
        return _variant(f"the chunk {kind.decode()} is unknown and may depend on the data")
    return None


def _reason_in_transparency(
    source: Source, chunk: Chunk, before: list[Chunk], facts: ImageFacts, colour_type: int
) -> Failure | None:
    """Why a file with this tRNS is left alone: decoders differ on one that breaks the rules (PNG 11.3.1.1).

    libpng ignores what is misplaced or too long and masks what is too large; others do not. Repacked, it would be valid
    and mean the same to all, which for some is another picture.
    """
    body = source.read(chunk.start + 8, chunk.end - chunk.start - 12)
    palette = next((one for one in before if one.kind == b"PLTE"), None)
    if any(one.kind == b"IDAT" for one in before):
        return _variant("its transparency stands behind the picture's data")
    if colour_type == PALETTE:
        entries = (palette.end - palette.start - 12) // 3 if palette else 0
        fits = 0 < len(body) <= entries
    else:
        samples = [int.from_bytes(body[at : at + 2], "big") for at in range(0, len(body), 2)]
        fits = len(body) == {GREY: 2, RGB: 6}.get(colour_type, 0) and max(samples, default=0) < 1 << facts.depth_bits
    return None if fits else _variant("its transparency breaks the rules of the format")


def _variant(why: str) -> Failure:
    return rejected("png-variant", f"this kind of PNG is left alone: {why}")


def _check_order(layout: Layout) -> None:
    kinds = [chunk.kind for chunk in layout.chunks]
    if b"IDAT" not in kinds:
        raise damaged("the file has no picture in it")
    if any(kinds.count(kind) > 1 for kind in (b"IHDR", b"PLTE", b"tRNS")):
        raise damaged("a chunk that may stand once stands twice")
    if layout.colour_type == PALETTE and b"PLTE" not in kinds[: kinds.index(b"IDAT")]:
        raise damaged("the palette is missing")


def check_sums(data: bytes, layout: Layout) -> None:
    """Raise Unfit (CORRUPT) for a wrong checksum of a chunk that the picture depends on."""
    view = memoryview(data)
    for chunk in layout.chunks:
        if chunk.kind in CRITICAL or chunk.kind == b"tRNS":
            expected = int.from_bytes(view[chunk.end - 4 : chunk.end], "big")
            if zlib.crc32(view[chunk.start + 4 : chunk.end - 4]) != expected:
                raise Unfit(
                    corrupt("checksum", f"the checksum of {chunk.kind.decode()} at byte {chunk.start} is wrong")
                )
