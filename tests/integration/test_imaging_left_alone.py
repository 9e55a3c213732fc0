"""Files that are damaged, or hold more than a rewrite keeps, end with a reason and without a result."""

from __future__ import annotations

import struct
import zlib

import pytest

from imgoptd.core.model import FailureKind, ImageFacts, Verdict
from imgoptd.imaging.optimize import optimize_descriptors
from tests import images
from tests.memory import memory_file
from tests.optimizing import ANY_SAVING, GOOD, reason, run


@pytest.mark.parametrize("name", images.damaged())
def test_a_file_that_is_no_whole_image_ends_with_a_reason_and_no_result(name: str) -> None:
    kind, word = reason(images.damaged()[name])
    assert kind in (FailureKind.CORRUPT, FailureKind.REJECTED)
    assert word


@pytest.mark.parametrize("name", images.special_jpegs() | images.special_pngs())
def test_a_file_with_more_in_it_than_a_rewrite_keeps_is_left_alone(name: str) -> None:
    outcome, result = run((images.special_jpegs() | images.special_pngs())[name])
    assert (outcome.verdict, result) == (Verdict.KEPT, b"")


def test_missing_restart_intervals_are_damage_although_decoders_paint_over_them() -> None:
    data = GOOD["restarts.jpg"]
    first, second = data.index(b"\xff\xd1"), data.index(b"\xff\xd2")
    assert reason(data[:first] + data[second:]) == (FailureKind.CORRUPT, "damaged")


def test_a_jpeg_that_its_decoder_refuses_is_damaged() -> None:
    data = GOOD["baseline.jpg"]
    at = data.index(b"\xff\xc4")
    kind, word = reason(data[: at + 5] + b"\xff" * 16 + data[at + 21 :])
    assert (kind, word) == (FailureKind.CORRUPT, "undecodable")


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
def test_a_wrong_checksum_of_a_chunk_that_matters_is_damage(kind: bytes) -> None:
    data = bytearray(GOOD["palette-with-trns.png"])
    at = data.index(kind)
    data[at + 4 + int.from_bytes(data[at - 4 : at], "big")] ^= 1
    assert reason(bytes(data)) == (FailureKind.CORRUPT, "checksum")


@pytest.mark.parametrize(
    ("compressed", "expected"),
    [
        (zlib.compress(bytes(65 * 60)), "truncated"),
        (zlib.compress(bytes(65 * 70)), "undecodable"),
        (zlib.compress(bytes(65 * 64))[:-4] + b"abcd", "undecodable"),
        (b"x\x9c" + bytes(200), "undecodable"),
    ],
    ids=["rows missing", "rows too many", "wrong sum", "no deflate"],
)
def test_png_data_that_does_not_make_up_the_picture_is_damage(compressed: bytes, expected: str) -> None:
    head = images.chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + images.chunk(b"IDAT", compressed) + images.chunk(b"IEND", b"")
    assert reason(data) == (FailureKind.CORRUPT, expected)


@pytest.mark.parametrize(("format_", "data"), [("jpeg", GOOD["baseline.jpg"]), ("png", GOOD["rgb.png"])])
def test_a_file_that_has_got_a_trailer_since_its_probe_is_left_alone(format_: str, data: bytes) -> None:
    with memory_file(data + b"new") as given, memory_file() as target:
        outcome = optimize_descriptors(given, target, ImageFacts(format_), ANY_SAVING)
    assert outcome.verdict is Verdict.KEPT
    assert outcome.failure is not None and outcome.failure.reason == "trailer"


def test_damage_that_decoders_paint_over_is_noticed_in_a_jpeg() -> None:
    """Many flipped bits leave a stream that no decoder can tell from a good one; the others are seen."""
    noticed = 0
    data = GOOD["baseline.jpg"]
    scan = data.index(b"\xff\xda") + 20
    for at in range(scan, len(data) - 2, max(1, (len(data) - scan) // 100)):
        flipped = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        with memory_file(flipped) as given, memory_file() as target:
            outcome = optimize_descriptors(given, target, ImageFacts("jpeg"), ANY_SAVING)
        if outcome.failure is not None and outcome.failure.kind is FailureKind.CORRUPT:
            noticed += 1
    assert noticed


def test_a_jpeg_with_a_sampling_that_cannot_be_compared_is_left_alone() -> None:
    data = GOOD["baseline.jpg"]
    frame = data.index(b"\xff\xc0")
    odd = bytearray(data)
    odd[frame + 11] = 0x31
    assert reason(bytes(odd)) == (FailureKind.REJECTED, "unverifiable-sampling")


def test_metadata_behind_the_first_scan_leaves_a_jpeg_alone() -> None:
    """Readers stop at the first scan: put in front of it, an orientation would begin to act."""
    data = GOOD["baseline.jpg"]
    late = b"\xff\xe1\x00\x08Exif\0\0"
    assert reason(data[:-2] + late + data[-2:]) == (FailureKind.REJECTED, "jpeg-variant")


@pytest.mark.parametrize(
    ("colour", "depth", "transparency"),
    [(0, 4, b"\xff\xff"), (0, 2, b"\x01\x2c"), (0, 1, b"\x00\x02"), (0, 8, b"\0\1\0\1\0\1"), (2, 8, b"\0\1\1\0\0\1")],
)
def test_transparency_that_decoders_read_differently_leaves_a_png_alone(
    colour: int, depth: int, transparency: bytes
) -> None:
    row = 64 * depth * (3 if colour == 2 else 1) // 8
    data = images.raw_png(64, 64, depth, colour, bytes(row * 64), before=images.chunk(b"tRNS", transparency))
    assert reason(data) == (FailureKind.REJECTED, "png-variant")


@pytest.mark.parametrize("broken", ["too long", "before the palette", "behind the data"])
def test_transparency_of_a_palette_out_of_place_leaves_a_png_alone(broken: str) -> None:
    palette, transparency = images.chunk(b"PLTE", bytes(range(12))), images.chunk(b"tRNS", b"\0\0\0\0")
    if broken == "too long":
        before, after = palette + images.chunk(b"tRNS", b"\0" * 5), b""
    elif broken == "before the palette":
        before, after = transparency + palette, b""
    else:
        before, after = palette, transparency
    data = images.raw_png(64, 64, 8, 3, bytes(64 * 64), before=before, after=after)
    assert reason(data) == (FailureKind.REJECTED, "png-variant")


def test_a_pixel_without_a_colour_in_the_palette_is_damage() -> None:
    palette = images.chunk(b"PLTE", bytes(range(12)))
    data = images.raw_png(64, 64, 8, 3, bytes([0, 1, 2, 4] * 16) * 64, before=palette)
    assert reason(data) == (FailureKind.CORRUPT, "damaged")
