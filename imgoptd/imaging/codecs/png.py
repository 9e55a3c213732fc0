"""PNG (third edition): parsed by chunks, repacked by oxipng, put together again by us.

oxipng is given the picture alone (IHDR, PLTE, tRNS, IDAT); every other chunk of the original is put back byte for byte
in its place. Where such a chunk depends on colour type, depth or palette, those stay as they are.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import oxipng
from PIL import Image

from imgoptd.core.model import Failure, ImageFacts, JobSettings
from imgoptd.imaging.codecs.base import check_saving
from imgoptd.imaging.failures import Unfit, corrupt, damaged, rejected, truncated, unverified
from imgoptd.imaging.limits import check_dimensions, check_parts
from imgoptd.imaging.picture import fingerprint
from imgoptd.imaging.source import BytesSource, Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LEVEL = 2
"""oxipng's: 3 saved nothing more on photographs and icons and took three times as long."""
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


class Png:
    name = "png"

    def sniff(self, head: bytes) -> bool:
        return head.startswith(SIGNATURE)

    def probe(self, source: Source) -> ImageFacts:
        return parse(source).facts

    def optimize(self, data: bytes, settings: JobSettings) -> bytes:
        layout = parse(BytesSource(data))
        if layout.facts.leave is not None:
            raise Unfit(layout.facts.leave)
        _check_sums(data, layout)
        picture = _picture(data, layout)
        packed = _pack(picture, _allowed(layout))
        result = _join(data, layout, packed)
        check_saving(len(data), len(result), settings)
        self._verify(data, layout, picture, result)
        return result

    def _verify(self, data: bytes, layout: Layout, picture: bytes, result: bytes) -> None:
        new = parse(BytesSource(result))
        if new.facts.leave is not None or _metadata(result, new) != _metadata(data, layout):
            raise Unfit(unverified("metadata-differs", "the result does not hold the original's metadata"))
        if layout.has(BOUND_TO_SAMPLES) and (new.colour_type, new.facts.depth_bits) != (
            layout.colour_type,
            layout.facts.depth_bits,
        ):
            raise Unfit(unverified("metadata-differs", "the samples changed their type under chunks that depend on it"))
        if layout.has(BOUND_TO_COLOUR) and new.is_colour != layout.is_colour:
            raise Unfit(unverified("metadata-differs", "grey became colour, or colour grey, under a colour profile"))
        deep = layout.facts.depth_bits == 16
        before = fingerprint(picture, "PNG", partial(_canonical, layout, deep))
        if fingerprint(_picture(result, new), "PNG", partial(_canonical, new, deep)) != before:
            raise Unfit(unverified("pixels-differ", "the result does not show the original's pixels"))


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


def _check_sums(data: bytes, layout: Layout) -> None:
    """Raise Unfit (CORRUPT) for a wrong checksum of a chunk that the picture depends on."""
    view = memoryview(data)
    for chunk in layout.chunks:
        if chunk.kind in CRITICAL or chunk.kind == b"tRNS":
            expected = int.from_bytes(view[chunk.end - 4 : chunk.end], "big")
            if zlib.crc32(view[chunk.start + 4 : chunk.end - 4]) != expected:
                raise Unfit(
                    corrupt("checksum", f"the checksum of {chunk.kind.decode()} at byte {chunk.start} is wrong")
                )


def _metadata(data: bytes, layout: Layout) -> list[bytes]:
    return [data[chunk.start : chunk.end] for chunk in layout.chunks if layout.is_metadata(chunk.kind)]


def _picture(data: bytes, layout: Layout) -> bytes:
    """The file with nothing in it but what a decoder needs: no metadata of a stranger is parsed by one."""
    kept = (c for c in layout.chunks if layout.is_picture(c.kind) or c.kind == b"IEND")
    return SIGNATURE + b"".join(data[chunk.start : chunk.end] for chunk in kept)


@dataclass(frozen=True, slots=True)
class Reductions:
    """Which changes of sample type oxipng may make."""

    depth: bool = True
    colour_type: bool = True
    palette: bool = True
    grey: bool = True


def _allowed(layout: Layout) -> Reductions:
    """What this file's metadata leaves valid."""
    if layout.has(BOUND_TO_SAMPLES) or (b"PLTE" in (c.kind for c in layout.chunks) and layout.colour_type != PALETTE):
        return Reductions(depth=False, colour_type=False, palette=False, grey=False)
    if layout.has(BOUND_TO_COLOUR):
        return Reductions(grey=False) if layout.is_colour else Reductions(colour_type=False, palette=False)
    return Reductions()


def _pack(picture: bytes, allowed: Reductions) -> bytes:
    """The same picture in fewer bytes. May abort the process where memory does not suffice.

    Raises Unfit: CORRUPT where oxipng, which is strict about sums and lengths, objects.
    """
    try:
        packed = oxipng.optimize_from_memory(
            picture,
            level=LEVEL,
            strip=oxipng.StripChunks.none(),
            bit_depth_reduction=allowed.depth,
            color_type_reduction=allowed.colour_type,
            palette_reduction=allowed.palette,
            grayscale_reduction=allowed.grey,
        )
    except oxipng.PngError as error:
        text = f"oxipng says: {error}"
        raise (truncated(text) if "truncated" in str(error) else Unfit(corrupt("undecodable", text))) from error
    return bytes(packed)


def _join(data: bytes, layout: Layout, packed: bytes) -> bytes:
    """The repacked picture amid the original's other chunks, each on the side of the palette and the data it was on."""
    new = parse(BytesSource(packed))
    take = {kind: [packed[c.start : c.end] for c in new.chunks if c.kind == kind] for kind in (*CRITICAL, b"tRNS")}
    sections: list[list[bytes]] = [[], [], []]
    section = 0
    for chunk in layout.chunks:
        if chunk.kind == b"PLTE" and layout.colour_type == PALETTE:
            section = 1
        elif chunk.kind == b"IDAT":
            section = 2
        elif layout.is_metadata(chunk.kind):
            sections[section].append(data[chunk.start : chunk.end])
    palette = take[b"PLTE"] if new.colour_type == PALETTE else []
    pieces = [SIGNATURE, *take[b"IHDR"], *sections[0], *palette, *take[b"tRNS"], *sections[1]]
    return b"".join((*pieces, *take[b"IDAT"], *sections[2], *take[b"IEND"]))


def _canonical(layout: Layout, deep: bool, strip: Image.Image) -> bytes:
    """Pixels in one form for all sample types: RGBA of 8 bits, or grey of 16 where the original (`deep`) has that.

    Colours under full transparency count, too. Raises Unfit (CORRUPT) where a pixel names no colour of the palette.
    """
    if layout.colour_type == PALETTE:
        palette = next(chunk for chunk in layout.chunks if chunk.kind == b"PLTE")
        _, highest = strip.getextrema()
        if not isinstance(highest, int | float) or highest >= (palette.end - palette.start - 12) // 3:
            raise damaged("a pixel names a colour that the palette does not have")
    if not deep:
        return _with_scaled_transparency(strip, layout).convert("RGBA").tobytes()
    if layout.facts.depth_bits == 16:
        return strip.tobytes()
    grey = strip.convert("L").tobytes()
    doubled = bytearray(2 * len(grey))
    doubled[0::2] = doubled[1::2] = grey  # a sample v of 8 bits is v x 257 of 16
    return bytes(doubled)


def _with_scaled_transparency(strip: Image.Image, layout: Layout) -> Image.Image:
    """Pillow scales grey samples of 2 and 4 bits to 8, but not the transparent one: do that."""
    depth = layout.facts.depth_bits
    if layout.colour_type == GREY and depth in (2, 4) and isinstance(strip.info.get("transparency"), int):
        strip.info["transparency"] *= 255 // ((1 << depth) - 1)
    return strip
