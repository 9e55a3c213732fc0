"""What the probe reads from headers, and that no bytes make it do anything but answer."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.model import Failure, FailureKind, ImageFacts
from imgoptd.imaging.failures import Unfit
from imgoptd.imaging.probe import probe
from imgoptd.imaging.recognize import recognize
from imgoptd.imaging.source import WINDOW_BYTES, BytesSource
from tests import images

WHOLE_JPEG = images.jpeg(images.photo(64, 48))
WHOLE_PNG = images.png(images.photo(64, 48))
SOF = WHOLE_JPEG.index(b"\xff\xc0")


def facts_of(data: bytes) -> ImageFacts:
    return probe(BytesSource(data))


def failure_of(data: bytes) -> Failure:
    """Why the file is not worked on, whichever way the probe says it."""
    try:
        leave = facts_of(data).leave
    except Unfit as unfit:
        return unfit.failure
    assert leave is not None, "the probe has nothing against this file"
    return leave


def with_frame(*, marker: int = 0xC0, precision: int = 8, width: int = 64, height: int = 48) -> bytes:
    """The JPEG with another frame header."""
    frame = struct.pack(">BBHBHH", 0xFF, marker, 17, precision, height, width)
    return WHOLE_JPEG[:SOF] + frame + WHOLE_JPEG[SOF + len(frame) :]


def png(*, depth: int = 8, colour: int = 2, width: int = 8, height: int = 4, before: bytes = b"") -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    return images.raw_png(
        width, height, depth, colour, bytes(height * -(-width * channels * depth // 8)), before=before
    )


def test_a_baseline_jpeg_has_its_size_and_components() -> None:
    assert facts_of(WHOLE_JPEG) == ImageFacts("jpeg", 64, 48, 8, 3, sampling="4:2:0")


@pytest.mark.parametrize(("mode", "channels", "sampling"), [("L", 1, ""), ("RGB", 3, "4:2:0"), ("CMYK", 4, "4:4:4")])
def test_a_progressive_jpeg_of_any_colour_is_told_apart(mode: str, channels: int, sampling: str) -> None:
    data = images.jpeg(images.photo(40, 30).convert(mode), progressive=True)
    assert facts_of(data) == ImageFacts("jpeg", 40, 30, 8, channels, progressive=True, sampling=sampling)


@pytest.mark.parametrize(
    ("factors", "sampling"),
    [
        ((0x11, 0x11, 0x11), "4:4:4"),
        ((0x21, 0x11, 0x11), "4:2:2"),
        ((0x22, 0x11, 0x11), "4:2:0"),
        ((0x12, 0x11, 0x11), "4:4:0"),
        ((0x41, 0x11, 0x11), "4:1:1"),
        ((0x22, 0x11, 0x12), ""),
    ],
)
def test_how_the_colours_of_a_jpeg_are_sampled_is_told(factors: tuple[int, ...], sampling: str) -> None:
    data = bytearray(WHOLE_JPEG)
    for component, factor in enumerate(factors):
        data[SOF + 11 + 3 * component] = factor
    assert facts_of(bytes(data)).sampling == sampling


@pytest.mark.parametrize(("colour", "depth", "channels"), [(0, 1, 1), (0, 16, 1), (2, 8, 3), (4, 8, 2), (6, 8, 4)])
def test_a_png_has_its_depth_and_channels(colour: int, depth: int, channels: int) -> None:
    assert facts_of(png(colour=colour, depth=depth)) == ImageFacts("png", 8, 4, depth, channels)


def test_an_interlaced_png_is_told_apart() -> None:
    assert facts_of(images.pngs()["interlaced.png"]).progressive


def test_fill_bytes_before_a_jpeg_marker_are_no_damage() -> None:
    padded = WHOLE_JPEG[:SOF] + b"\xff\xff\xff" + WHOLE_JPEG[SOF:]
    assert facts_of(padded).leave is None


def test_an_end_marker_within_a_comment_does_not_end_the_picture() -> None:
    assert facts_of(images.with_segment(WHOLE_JPEG, 0xFE, b"\xff\xd9 and more")).leave is None


@pytest.mark.parametrize("shift", range(-3, 4))
def test_the_end_is_found_wherever_it_falls_between_two_reads(shift: int) -> None:
    scan = WHOLE_JPEG.index(b"\xff\xda")
    scan_data = scan + 2 + int.from_bytes(WHOLE_JPEG[scan + 2 : scan + 4], "big")
    data = WHOLE_JPEG[:scan_data] + bytes(2 * WINDOW_BYTES + shift) + b"\xff\xd9"
    assert facts_of(data).leave is None
    assert failure_of(data[:-1]).reason == "truncated"


LEFT_ALONE = {
    "trailer": WHOLE_JPEG + b"x",
    "multi-picture": images.with_segment(WHOLE_JPEG, 0xE2, b"MPF\0II*\0"),
    "gain-map": images.with_segment(WHOLE_JPEG, 0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"),
    "signed-content": images.with_segment(WHOLE_JPEG, 0xEB, b"JP\0\1\0\0\0\1\0\0\0\x40jumb\0\0\0\x20jumdc2pa\0"),
    "jpeg-variant": with_frame(marker=0xC9),
    "too-many-pixels": with_frame(width=60_000, height=60_000),
}


@pytest.mark.parametrize("reason", LEFT_ALONE)
def test_a_sound_jpeg_that_a_rewrite_would_harm_is_left_alone_with_its_own_reason(reason: str) -> None:
    failure = failure_of(LEFT_ALONE[reason])
    assert (failure.kind, failure.reason) == (FailureKind.REJECTED, reason)


def test_a_gain_map_named_in_xmp_is_found() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:Version='1.0'/>"
    assert failure_of(images.with_segment(WHOLE_JPEG, 0xE1, xmp)).reason == "gain-map"


@pytest.mark.parametrize(
    "data",
    [
        with_frame(marker=0xC3),
        with_frame(precision=12),
        with_frame(height=0),
        images.with_segment(WHOLE_JPEG, 0xCC, b"\0\x10"),
        WHOLE_JPEG[:SOF] + WHOLE_JPEG[SOF : SOF + 19] + WHOLE_JPEG[SOF:],
        WHOLE_JPEG[:SOF] + b"\xff\xc0\0\x0e\x08\0\x30\0\x40\2\1\x11\0\2\x11\0" + WHOLE_JPEG[SOF + 19 :],
    ],
    ids=["lossless", "12 bit", "height behind the picture", "arithmetic conditioning", "two frames", "2 components"],
)
def test_kinds_of_jpeg_that_the_codec_does_not_do_are_left_alone(data: bytes) -> None:
    assert failure_of(data).reason == "jpeg-variant"


@pytest.mark.parametrize("whole", [WHOLE_JPEG, WHOLE_PNG], ids=["jpeg", "png"])
def test_a_file_cut_anywhere_behind_its_signature_is_truncated(whole: bytes) -> None:
    for length in (*range(8, 700), *range(700, len(whole), 41), len(whole) - 1):
        failure = failure_of(whole[:length])
        assert (failure.kind, failure.reason) == (FailureKind.CORRUPT, "truncated"), length


def test_a_header_that_claims_more_than_the_bytes_can_hold_is_truncated() -> None:
    assert failure_of(with_frame(width=20_000, height=20_000)).reason == "truncated"
    tall = bytearray(WHOLE_PNG)
    tall[16:24] = struct.pack(">II", 20_000, 20_000)
    assert failure_of(bytes(tall)).reason == "truncated"


@pytest.mark.parametrize("data", [with_frame(width=0), png(width=0), WHOLE_PNG[:20] + bytes(4) + WHOLE_PNG[24:]])
def test_a_picture_without_area_is_damaged(data: bytes) -> None:
    assert (failure_of(data).kind, failure_of(data).reason) == (FailureKind.CORRUPT, "damaged")


@pytest.mark.parametrize(
    "data",
    [
        WHOLE_JPEG[:SOF] + b"\0\0\0" + WHOLE_JPEG[SOF:],
        WHOLE_JPEG[:SOF] + b"\xff\xe5\0\1" + WHOLE_JPEG[SOF:],
        WHOLE_JPEG[:SOF] + WHOLE_JPEG[SOF + 19 :],
        b"\xff\xd8\xff\xd9",
        WHOLE_JPEG[:SOF] + b"\xff\xc0\0\4\x08\0" + WHOLE_JPEG[SOF:],
    ],
    ids=["garbage between segments", "length of 1", "scan without a frame", "nothing", "short frame header"],
)
def test_a_jpeg_whose_segments_make_no_sense_is_damaged(data: bytes) -> None:
    assert (failure_of(data).kind, failure_of(data).reason) == (FailureKind.CORRUPT, "damaged")


def test_a_jpeg_with_hundreds_of_scans_is_left_alone() -> None:
    data = images.jpeg(images.photo(16, 16), progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]
    assert failure_of(data[:-2] + scan * 120 + b"\xff\xd9").reason == "too-many-scans"


def test_a_file_of_countless_tiny_segments_is_left_alone() -> None:
    comments = b"\xff\xfe\0\2" * 200_001
    assert failure_of(WHOLE_JPEG[:2] + comments + WHOLE_JPEG[2:]).reason == "too-many-parts"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (WHOLE_PNG + b"\0", "trailer"),
        (images.special_pngs()["animated.png"], "animated"),
        (png(before=images.chunk(b"caBX", b"jumb")), "signed-content"),
        (png(before=images.chunk(b"NEWc", b"?")), "png-variant"),
        (png(before=images.chunk(b"mkBF", b"layers")), "png-variant"),
        (WHOLE_PNG[:8] + images.chunk(b"CgBI", b"\x50\0\x20\2") + WHOLE_PNG[8:], "png-variant"),
        (png(depth=16), "unverifiable-depth"),
        (png(depth=16, colour=4), "unverifiable-depth"),
        (png(depth=16, colour=0, before=images.chunk(b"tRNS", b"\0\1")), "unverifiable-depth"),
        (images.damaged()["bomb.png"], "too-many-pixels"),
    ],
)
def test_a_sound_png_that_a_rewrite_would_harm_is_left_alone_with_its_own_reason(data: bytes, reason: str) -> None:
    failure = failure_of(data)
    assert (failure.kind, failure.reason) == (FailureKind.REJECTED, reason)


@pytest.mark.parametrize(
    "data",
    [
        png(colour=3),
        WHOLE_PNG[:25] + b"\5" + WHOLE_PNG[26:],
        png(colour=2, depth=4),
        WHOLE_PNG[:8] + images.chunk(b"tEXt", b"a\0b") + WHOLE_PNG[8:],
        WHOLE_PNG[:33] + WHOLE_PNG[-12:],
        WHOLE_PNG[:33] + b"\0\0\0\0\1\2\3\4" + WHOLE_PNG[33:],
        WHOLE_PNG[:33] + images.chunk(b"IDAT", b"1") + images.chunk(b"tEXt", b"a\0b") + WHOLE_PNG[33:],
        WHOLE_PNG[:33] + images.chunk(b"PLTE", b"123") * 2 + WHOLE_PNG[33:],
    ],
    ids=[
        "no palette",
        "colour type 5",
        "RGB of 4 bits",
        "text first",
        "no data",
        "no name",
        "data in two places",
        "twice",
    ],
)
def test_a_png_whose_chunks_make_no_sense_is_damaged(data: bytes) -> None:
    assert (failure_of(data).kind, failure_of(data).reason) == (FailureKind.CORRUPT, "damaged")


def test_an_empty_file_says_so() -> None:
    assert failure_of(b"").reason == "empty"


FILM = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100)

KNOWN = {
    "gif": b"GIF89a" + bytes(20),
    "tiff": b"MM\0*" + bytes(20),
    "webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20),
    "avif": b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(20),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(20),
    "jxl": b"\xff\x0a" + bytes(20),
    "bmp": b"BM" + struct.pack("<IIII", 100, 0, 54, 40) + bytes(40),
    "svg": b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_format_without_a_codec_is_recognised_and_left_alone(name: str) -> None:
    facts_or_failure = failure_of(KNOWN[name])
    assert (facts_or_failure.kind, facts_or_failure.reason) == (FailureKind.REJECTED, "format-not-supported")
    assert recognize(KNOWN[name]) == name


@pytest.mark.parametrize(
    "before",
    [
        b"<!---->" * 10_000,  # each could end at any of the ends that follow
        b"<!-- a --> \n\t" * 10_000,
        b" " * 10_000,
        b"<?xml-stylesheet href='a.css'?>" * 10_000,
        b"<!DOCTYPE svg>" * 10_000,
        b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'a.dtd' [\n<!ENTITY ns 'http://a/'>\n<!ENTITY b 'c'>\n]>",
        b"<!-- <svg> --><!-- > -->",
    ],
)
def test_whatever_stands_before_it_an_svg_is_told_from_what_is_none(before: bytes) -> None:
    assert recognize(before + b"<svg>") == recognize(before + b"<s:svg >") == "svg"
    for after in (b"", b"<html>", b"<svgs>", b"<!--", b"<!DOCTYPE html>", b"<s:t:svg>"):
        assert recognize(before + after) is None


@pytest.mark.parametrize(
    "data",
    [b"text", b"\xff", b"\x89PNG", FILM, b"<html><body><svg></svg></body></html>", b"BMX is a sport", b"\0" * 50],
)
def test_what_is_no_image_is_called_that(data: bytes) -> None:
    assert (failure_of(data).kind, failure_of(data).reason) == (FailureKind.REJECTED, "not-an-image")


@given(st.sampled_from([WHOLE_JPEG, WHOLE_PNG]), st.data())
def test_whatever_bytes_are_changed_the_probe_answers(whole: bytes, data: st.DataObject) -> None:
    changed = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, min(len(whole), 900) - 1), min_size=1, max_size=6)):
        changed[at] = data.draw(st.integers(0, 255))
    try:
        assert facts_of(bytes(changed)).format in ("jpeg", "png")
    except Unfit as unfit:
        assert unfit.failure.detail


@given(st.binary(max_size=300))
def test_whatever_follows_a_signature_the_probe_answers(tail: bytes) -> None:
    for head in (b"\xff\xd8\xff", WHOLE_PNG[:8], WHOLE_PNG[:33]):
        assert failure_of(head + tail).detail
