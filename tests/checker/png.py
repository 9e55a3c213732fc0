"""PNG as a list of chunks, and its pixels as RGBA of 16 bits (PNG specification, third edition).

One canonical form for every colour type and depth: a lossless change of the colour type gives the same bytes, and a
single changed sample, under full transparency too, does not.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.checker.jpeg import Broken

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""x start, y start, x step, y step of each pass."""


@dataclass(slots=True)
class Png:
    width: int = 0
    height: int = 0
    depth: int = 0
    colour: int = 0
    interlaced: bool = False
    palette: bytes = b""
    transparency: bytes = b""
    data: list[bytes] = field(default_factory=list)
    metadata: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    """Every other chunk in order: where it stands (before PLTE or IDAT, or after IDAT), name, body."""
    trailer: bytes = b""

    @property
    def raw_bytes(self) -> int:
        return self.height * (self.width * _CHANNELS[self.colour] * self.depth // 8 + 2)


def parse(data: bytes) -> Png:
    """Walk all chunks up to IEND and check every CRC. Raises Broken."""
    if data[:8] != SIGNATURE:
        raise Broken("no signature")
    picture, at, place = Png(), 8, "before the palette"
    while True:
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, crc = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(name) != 4 or len(body) != length or zlib.crc32(name + body) != int.from_bytes(crc, "big"):
            raise Broken(f"chunk at {at} is cut or damaged")
        at += 12 + length
        if name == b"IEND":
            picture.trailer = data[at:]
            return picture
        place = {b"PLTE": "before the data", b"IDAT": "after the data"}.get(name, place)
        _take(picture, name, body, place)


def _take(picture: Png, name: bytes, body: bytes, place: str) -> None:
    if name == b"IHDR":
        picture.width, picture.height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
        picture.depth, picture.colour, picture.interlaced = body[8], body[9], bool(body[12])
        if picture.colour not in _CHANNELS:
            raise Broken("unknown colour type")
    elif name == b"PLTE":
        picture.palette = body
    elif name == b"tRNS":
        picture.transparency = body
    elif name == b"IDAT":
        picture.data.append(body)
    elif name not in _PIXEL_CHUNKS:
        picture.metadata.append((place, name, body))


def canonical_rows(picture: Png) -> Iterator[bytes]:
    """Rows of 8 bytes a pixel (R, G, B, A, 16 bits each), pass by pass put together. Raises Broken."""
    try:
        raw = zlib.decompress(b"".join(picture.data))
    except zlib.error as error:
        raise Broken(str(error)) from error
    if not picture.interlaced:
        rows, end = _unfilter(picture, raw, 0, picture.width, picture.height)
        yield from (_expand(picture, row, picture.width) for row in rows)
    else:
        whole, end = [bytearray(8 * picture.width) for _ in range(picture.height)], 0
        for x0, y0, dx, dy in _ADAM7:
            width, height = -(-(picture.width - x0) // dx), -(-(picture.height - y0) // dy)
            if width <= 0 or height <= 0:
                continue
            rows, end = _unfilter(picture, raw, end, width, height)
            for number, row in enumerate(rows):
                target, part = whole[y0 + number * dy], _expand(picture, row, width)
                for byte in range(8):
                    target[8 * x0 + byte :: 8 * dx] = part[byte::8]
        yield from map(bytes, whole)
    if end != len(raw):
        raise Broken("pixel data is longer than the picture")


def _unfilter(picture: Png, raw: bytes, start: int, width: int, height: int) -> tuple[list[bytes], int]:
    bits = _CHANNELS[picture.colour] * picture.depth
    stride, step = (width * bits + 7) // 8, max(1, bits // 8)
    rows, above = [], bytes(stride)
    for _ in range(height):
        line = raw[start + 1 : start + 1 + stride]
        if len(line) != stride:
            raise Broken("pixel data is shorter than the picture")
        above = _unfilter_row(raw[start], line, above, step)
        rows.append(above)
        start += 1 + stride
    return rows, start


def _add(left: int, right: int) -> int:
    return (left + right) & 255


def _unfilter_row(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    if kind == 0:
        return line
    if kind == 1:
        out = bytearray(len(line))
        for lane in range(min(step, len(line))):
            sums: list[int] = list(itertools.accumulate(line[lane::step], _add))
            out[lane::step] = bytes(sums)
        return bytes(out)
    if kind == 2:
        return bytes([(a + b) & 255 for a, b in zip(line, above, strict=True)])
    if kind == 3:
        out = bytearray(line)
        for at, value in enumerate(line):
            out[at] = (value + ((out[at - step] if at >= step else 0) + above[at]) // 2) & 255
        return bytes(out)
    if kind == 4:
        return _paeth_row(line, above, step)
    raise Broken(f"filter {kind}")


def _paeth_row(line: bytes, above: bytes, step: int) -> bytes:
    out = bytearray(line)
    for lane in range(min(step, len(line))):
        left = corner = 0
        for at in range(lane, len(line), step):
            up = above[at]
            to_left, to_up = abs(up - corner), abs(left - corner)
            to_corner = abs(left + up - 2 * corner)
            near = up if to_up <= to_corner else corner
            if to_left <= to_up and to_left <= to_corner:
                near = left
            out[at] = left = (line[at] + near) & 255
            corner = up
    return bytes(out)


def _expand(picture: Png, row: bytes, width: int) -> bytes:
    """One row of samples as packed in the file -> RGBA16."""
    out = bytearray(8 * width)
    if picture.depth == 16:
        high, low = row[0::2], row[1::2]
    else:
        high = row if picture.depth == 8 else _unpack(row, picture.depth, width)
        if picture.colour == 3:
            return _from_palette(picture, high, out)
        if picture.depth < 8:
            key = picture.transparency
            opaque = bytes(0 if key and value == key[1] else 255 for value in high)
            high = high.translate(bytes((value * 255 // ((1 << picture.depth) - 1)) & 255 for value in range(256)))
            for channel in range(3):
                out[2 * channel :: 8] = out[2 * channel + 1 :: 8] = high
            out[6::8] = out[7::8] = opaque
            return bytes(out)
        low = high
    channels = _CHANNELS[picture.colour]
    colours = (0, 0, 0) if channels < 3 else (0, 1, 2)
    for channel, source in enumerate(colours):
        out[2 * channel :: 8], out[2 * channel + 1 :: 8] = high[source::channels], low[source::channels]
    if channels in (2, 4):
        out[6::8], out[7::8] = high[channels - 1 :: channels], low[channels - 1 :: channels]
    else:
        out[6::8] = out[7::8] = _opacity_by_key(picture, row, width, channels)
    return bytes(out)


def _opacity_by_key(picture: Png, row: bytes, width: int, channels: int) -> bytes:
    """Grey and RGB may name one colour that is fully transparent."""
    if not picture.transparency:
        return b"\xff" * width
    wide = picture.depth == 16
    size = channels * (2 if wide else 1)
    key = picture.transparency[: 2 * channels] if wide else picture.transparency[1 : 2 * channels : 2]
    return bytes(0 if row[at : at + size] == key else 255 for at in range(0, width * size, size))


def _from_palette(picture: Png, indexes: bytes, out: bytearray) -> bytes:
    if indexes and max(indexes) >= len(picture.palette) // 3:
        raise Broken("an index is outside the palette")
    for channel in range(3):
        out[2 * channel :: 8] = out[2 * channel + 1 :: 8] = indexes.translate(
            picture.palette[channel::3].ljust(256, b"\0")
        )
    out[6::8] = out[7::8] = indexes.translate(picture.transparency[:256].ljust(256, b"\xff"))
    return bytes(out)


def _unpack(row: bytes, depth: int, width: int) -> bytes:
    mask = (1 << depth) - 1
    table = [bytes((value >> shift) & mask for shift in range(8 - depth, -1, -depth)) for value in range(256)]
    return b"".join([table[value] for value in row])[:width]
