"""Images made on the spot, no network: real encodings of photo-like content, and what a hostile folder holds."""

from __future__ import annotations

import io
import random
import struct
import zlib

from PIL import Image, ImageChops, ImageFilter

JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/></x:xmpmeta>"


def photo(width: int = 320, height: int = 240, seed: int = 1) -> Image.Image:
    """Soft shapes, an edge and fine noise: compresses about as a photograph does."""
    dice = random.Random(seed)
    soft = Image.frombytes("RGB", (12, 9), dice.randbytes(12 * 9 * 3)).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.frombytes("L", (width, height), dice.randbytes(width * height)).filter(ImageFilter.GaussianBlur(1))
    edge = Image.linear_gradient("L").resize((width, height)).point(lambda value: 255 if value > 140 else 96)
    return ImageChops.add(
        ImageChops.multiply(soft, edge.convert("RGB")), grain.point(lambda value: value // 8).convert("RGB")
    )


def drawing(width: int = 200, height: int = 150, seed: int = 1) -> Image.Image:
    """Few flat colours: what icons and screenshots are made of."""
    dice = random.Random(seed)
    picture = Image.frombytes("P", (10, 8), bytes(dice.randrange(6) for _ in range(80))).resize((width, height))
    picture.putpalette([value for step in range(6) for value in (step * 40, 255 - step * 40, 128)])
    return picture


# ---- JPEG -----------------------------------------------------------------------------------------------------------


def jpeg(picture: Image.Image, quality: int = 90, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


def jpeg_that_ends_its_codec() -> bytes:
    """A grey block of 8 x 8 whose first coefficient is 4096, which takes 13 bits; 11 are allowed (T.81 F.1.2.1).

    Decoders take it without a word, and MozJPEG ends the process.
    """

    def segment(marker: int, body: bytes) -> bytes:
        return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body

    one_code = bytes((1, *([0] * 15)))
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xDB, bytes((0, *([1] * 64)))),
            segment(0xC0, bytes((8, 0, 8, 0, 8, 1, 1, 0x11, 0))),
            segment(0xC4, b"\x00" + one_code + b"\x0d"),  # DC: the code 0 means 13 bits follow
            segment(0xC4, b"\x10" + one_code + b"\x00"),  # AC: the code 0 ends the block
            segment(0xDA, bytes((1, 1, 0, 0, 63, 0))),
            b"\x40\x01",  # 0, then 4096 in 13 bits, then 0, and a bit of padding
            b"\xff\xd9",
        )
    )


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """A segment right after SOI, or after JFIF where there is one."""
    at = 2 + (2 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 0)
    return data[:at] + b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body + data[at:]


def exif(orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    """An APP1 body: orientation, a maker, and a JPEG thumbnail in IFD1 where one is given."""
    maker = b"Camera of a test\0"
    ifd0_end = 8 + 2 + 2 * 12 + 4
    ifd1 = ifd0_end + len(maker)
    ifd1 += ifd1 % 2
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2)
    tiff += struct.pack("<HHII", 0x010F, 2, len(maker), ifd0_end)
    tiff += struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff += struct.pack("<I", ifd1 if thumbnail else 0) + maker
    if thumbnail:
        tiff = tiff.ljust(ifd1, b"\0") + struct.pack("<H", 2)
        tiff += struct.pack("<HHII", 0x0201, 4, 1, ifd1 + 2 + 2 * 12 + 4)
        tiff += struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail)) + struct.pack("<I", 0) + thumbnail
    return b"Exif\0\0" + tiff


def icc() -> bytes:
    """A small but well-formed ICC profile (RGB monitor, no tags beyond a copyright)."""
    tag = b"text\0\0\0\0No rights reserved\0\0"
    table = struct.pack(">I4sII", 1, b"cprt", 144, len(tag))
    head = bytearray(128)
    head[:4] = struct.pack(">I", 144 + len(tag))
    head[8:12], head[12:24], head[36:40] = b"\x02\x40\0\0", b"mntrRGB XYZ ", b"acsp"
    return bytes(head) + table + tag


def jpegs() -> dict[str, bytes]:
    """Each of these can be made smaller without a change of its picture or its metadata."""
    plain = jpeg(photo(), optimize=False)
    made = {
        "baseline.jpg": plain,
        "progressive.jpeg": jpeg(photo(seed=2), progressive=True),
        "subsampled.jpg": jpeg(photo(seed=3), subsampling="4:2:0"),
        "full-colour.jpg": jpeg(photo(seed=4), subsampling="4:4:4"),
        "grey.jpg": jpeg(photo(seed=5).convert("L")),
        "cmyk.jpg": jpeg(photo(seed=6).convert("CMYK")),
        "odd-size.jpg": jpeg(photo(203, 131, seed=7)),
        "restarts.jpg": jpeg(photo(seed=8), restart_marker_blocks=8),
        "icc.JPG": jpeg(photo(seed=9), icc_profile=icc()),
        "comment.jpg": with_segment(plain, 0xFE, b"a comment, \xff\xd9 within, in no charset \xe9"),
        "xmp.jpg": with_segment(jpeg(photo(seed=10)), 0xE1, JPEG_XMP + XMP),
        "photoshop.jpg": with_segment(jpeg(photo(seed=11)), 0xED, b"Photoshop 3.0\08BIM\x04\x04\0\0\0\0\0\0"),
        "unknown-app.jpg": with_segment(jpeg(photo(seed=12)), 0xEA, b"WHO KNOWS\0" + bytes(range(256))),
        "thumbnail.jpg": with_segment(
            jpeg(photo(seed=13)), 0xE1, exif(1, jpeg(photo(seed=13).resize((96, 72)), quality=60))
        ),
    }
    for orientation in range(1, 9):
        made[f"orientation-{orientation}.jpg"] = with_segment(
            jpeg(photo(160, 120, seed=20 + orientation)), 0xE1, exif(orientation)
        )
    everything = jpeg(photo(seed=30), icc_profile=icc())
    for marker, body in ((0xFE, b"last"), (0xE1, JPEG_XMP + XMP), (0xE1, exif(6))):
        everything = with_segment(everything, marker, body)
    return made | {"everything.jpg": everything}


def special_jpegs() -> dict[str, bytes]:
    """Whole and sound, but with parts that a plain rewrite would lose."""
    plain = jpeg(photo(seed=40))
    second = jpeg(photo(160, 120, seed=41))
    movie = struct.pack(">I", 24) + b"ftypmp42\0\0\0\0mp42isom" + bytes(2000)
    motion = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><GCamera:MotionPhoto>1</GCamera:MotionPhoto></x:xmpmeta>"
    return {
        "trailer.jpg": plain + b"kept by somebody for a reason",
        "motion-photo.jpg": with_segment(plain, 0xE1, JPEG_XMP + motion) + movie,
        "two-pictures.jpg": with_segment(plain, 0xE2, b"MPF\0II*\0\x08\0\0\0\0\0\0\0\0\0") + second,
        "mpf-alone.jpg": with_segment(plain, 0xE2, b"MPF\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    }


# ---- PNG ------------------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def raw_png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    samples: bytes,
    *,
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of unfiltered, lightly packed samples; depth 8 or 16 where interlaced. `before`, `after`: chunks."""
    pixel = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth // 8
    stride = len(samples) // height
    rows = [samples[number * stride : (number + 1) * stride] for number in range(height)]
    lines: list[bytes] = rows
    if interlaced:
        lines = []
        for x0, y0, dx, dy in (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ):
            for row in rows[y0::dy]:
                line = b"".join(row[at * pixel : (at + 1) * pixel] for at in range(x0, width, dx))
                lines += [line] if line else []
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    data = zlib.compress(b"".join(b"\0" + line for line in lines), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + chunk(b"IDAT", data) + after + chunk(b"IEND", b"")


def png(picture: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1, **options)
    return out.getvalue()


def with_chunks(data: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Chunks right after IHDR and right before IEND."""
    return data[:33] + before + data[33:-12] + after + data[-12:]


def pngs() -> dict[str, bytes]:
    """Each of these can be made smaller, but those whose depth Pillow cannot show (`16bit-...`), which may stay."""
    rgb, dice = photo(160, 120, seed=50), random.Random(50)
    veil = Image.linear_gradient("L").resize(rgb.size).point(lambda value: 0 if value < 128 else value)
    hidden = rgb.copy()
    hidden.putalpha(veil)
    words = chunk(b"tEXt", b"Comment\0kept") + chunk(b"iTXt", b"Title\0\0\0\0\0" + "schön".encode())
    colours = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
    deep = bytes(dice.choice((7, 9, 200)) for _ in range(64 * 48 * 2))
    palette = drawing()
    return {
        "rgb.png": png(rgb),
        "colours-under-alpha-0.png": png(hidden),
        "palette-with-trns.png": png(palette, transparency=bytes((0, 128, 255, 255, 255, 255))),
        "one-bit.png": png(rgb.convert("1")),
        "grey.png": png(rgb.convert("L")),
        "grey-alpha.png": png(hidden.convert("LA")),
        "drawing-as-rgba.png": png(palette.convert("RGBA")),
        "interlaced.png": raw_png(160, 120, 8, 2, rgb.tobytes(), interlaced=True),
        "16bit-grey.png": raw_png(64, 48, 16, 0, deep),
        "16bit-rgb.png": raw_png(32, 32, 16, 2, deep[: 32 * 32 * 6]),
        "text.png": with_chunks(png(rgb), words, chunk(b"tEXt", b"Author\0after the data")),
        "colour-chunks.png": with_chunks(png(rgb), colours),
        "iccp.png": png(rgb, icc_profile=icc()),
        "exif.png": with_chunks(png(rgb), after=chunk(b"eXIf", exif(6)[6:])),
        "grey-as-rgb-with-iccp.png": png(rgb.convert("L").convert("RGB"), icc_profile=icc()),
        "background.png": with_chunks(png(palette.convert("RGB")), chunk(b"bKGD", struct.pack(">HHH", 1, 2, 3))),
        "significant-bits.png": with_chunks(png(rgb), chunk(b"sBIT", bytes((5, 6, 5)))),
        "private-chunk.png": with_chunks(png(rgb), chunk(b"prVt", bytes(range(200)))),
    }


def special_pngs() -> dict[str, bytes]:
    frames = [drawing(seed=seed).convert("RGB") for seed in (60, 61, 62)]
    return {
        "trailer.png": png(photo(seed=63)) + b"after the end",
        "animated.png": png(frames[0], save_all=True, append_images=frames[1:], duration=100),
    }


def others() -> dict[str, bytes]:
    """Images in formats that are recognised and left alone."""
    made, picture = {}, photo(80, 60, seed=70)
    for name, kind in (("a.webp", "WEBP"), ("b.gif", "GIF"), ("c.tiff", "TIFF"), ("d.bmp", "BMP")):
        out = io.BytesIO()
        picture.save(out, kind)
        made[name] = out.getvalue()
    return made


def good() -> dict[str, bytes]:
    return jpegs() | pngs()


def damaged() -> dict[str, bytes]:
    """Files that are no whole image; none may change, each needs a reason."""
    whole, drawn = jpeg(photo(seed=80)), png(photo(seed=81))
    flipped = bytearray(drawn)
    flipped[len(drawn) // 2] ^= 0x40
    return {
        "empty.jpg": b"",
        "empty.png": b"",
        "one-byte.jpg": b"\xff",
        "head-alone.jpg": whole[:3],
        "truncated.jpg": whole[: len(whole) * 2 // 3],
        "no-end.jpg": whole[:-2],
        "truncated.png": drawn[: len(drawn) // 2],
        "no-iend.png": drawn[:-12],
        "bad-crc.png": bytes(flipped),
        "text-named.jpg": b"This is not an image at all.\n" * 40,
        "noise.png": random.Random(82).randbytes(5000),
        "page.png": b"<html><body>404 not found</body></html>",
        "zero-wide.png": raw_png(0, 1, 8, 2, b""),
        "bomb.png": _bomb(),
    }


def _bomb() -> bytes:
    """Says 60,000 x 60,000 pixels in a few kilobytes."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    data = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
