"""PNG: repacked by oxipng, put together again by us.

oxipng is given the picture alone (IHDR, PLTE, tRNS, IDAT); every other chunk of the original is put back byte for byte
in its place. Where such a chunk depends on colour type, depth or palette, those stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import oxipng
from PIL import Image

from imgoptd.core.model import ImageFacts, JobSettings
from imgoptd.imaging.codecs.base import check_saving
from imgoptd.imaging.codecs.png_layout import (
    BOUND_TO_COLOUR,
    BOUND_TO_SAMPLES,
    CRITICAL,
    GREY,
    PALETTE,
    SIGNATURE,
    Layout,
    check_sums,
    parse,
)
from imgoptd.imaging.failures import Unfit, corrupt, damaged, truncated, unverified
from imgoptd.imaging.picture import fingerprint
from imgoptd.imaging.source import BytesSource, Source

LEVEL = 2
"""oxipng's: 3 saved nothing more on photographs and icons and took three times as long."""


class Png:
    name = "png"
    packages = ("pyoxipng", "Pillow")

    def sniff(self, head: bytes) -> bool:
        return head.startswith(SIGNATURE)

    def probe(self, source: Source) -> ImageFacts:
        return parse(source).facts

    def optimize(self, data: bytes, settings: JobSettings) -> bytes:
        layout = parse(BytesSource(data))
        if layout.facts.leave is not None:
            raise Unfit(layout.facts.leave)
        check_sums(data, layout)
        size, sections = len(data), _sections(data, layout)
        picture = _picture(data, layout)
        del data  # oxipng takes most memory: nothing stands beside it that is not needed
        packed = _pack(picture, _allowed(layout))
        result = _join(sections, packed)
        del packed
        check_saving(size, len(result), settings)
        self._verify(layout, [chunk for section in sections for chunk in section], picture, result)
        return result

    def _verify(self, layout: Layout, metadata: list[bytes], picture: bytes, result: bytes) -> None:
        new = parse(BytesSource(result))
        if new.facts.leave is not None or _metadata(result, new) != metadata:
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


def _sections(data: bytes, layout: Layout) -> list[list[bytes]]:
    """The chunks that are metadata, in their order: before the palette, between that and the data, behind the data."""
    sections: list[list[bytes]] = [[], [], []]
    section = 0
    for chunk in layout.chunks:
        if chunk.kind == b"PLTE" and layout.colour_type == PALETTE:
            section = 1
        elif chunk.kind == b"IDAT":
            section = 2
        elif layout.is_metadata(chunk.kind):
            sections[section].append(data[chunk.start : chunk.end])
    return sections


def _join(sections: list[list[bytes]], packed: bytes) -> bytes:
    """The repacked picture amid the original's other chunks, each on the side of the palette and the data it was on."""
    new = parse(BytesSource(packed))
    take = {kind: [packed[c.start : c.end] for c in new.chunks if c.kind == kind] for kind in (*CRITICAL, b"tRNS")}
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
