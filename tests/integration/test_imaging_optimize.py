"""Whole jobs through descriptors: what comes out is smaller and the same, or there is a reason."""

from __future__ import annotations

import os
import resource
import struct
import zlib

import pytest

from imgoptd.core.model import Failure, FailureKind, ImageFacts, JobSettings, Outcome, Verdict
from imgoptd.imaging.codecs import jpeg as jpeg_format
from imgoptd.imaging.codecs import png as png_format
from imgoptd.imaging.codecs import png_layout
from imgoptd.imaging.codecs.jpeg import Jpeg
from imgoptd.imaging.codecs.png import Png
from imgoptd.imaging.failures import Unfit
from imgoptd.imaging.optimize import optimize_descriptors
from imgoptd.imaging.picture import fingerprint
from imgoptd.imaging.probe import probe_descriptor
from imgoptd.imaging.source import BytesSource
from tests import images
from tests.checker.content import read_content
from tests.memory import memory_file

ANY_SAVING = JobSettings(min_saving=0.0)
GOOD = images.good()


def run(data: bytes, settings: JobSettings = ANY_SAVING) -> tuple[Outcome, bytes]:
    """Probe and optimise; the outcome and what stands in the output then."""
    with memory_file(data) as given, memory_file() as target:
        facts = probe_descriptor(given)
        if isinstance(facts, Failure):
            return Outcome(Verdict.FAILED, failure=facts), b""
        outcome = optimize_descriptors(given, target, facts, settings)
        return outcome, os.pread(target, 1 << 26, 0)


def reason(data: bytes) -> tuple[FailureKind, str]:
    outcome, result = run(data)
    assert outcome.failure is not None
    assert result == b""
    return outcome.failure.kind, outcome.failure.reason


def assert_same(before: bytes, after: bytes) -> None:
    """Pixels, metadata and what binds them are equal in the eyes of a checker that shares no code with the codecs."""
    old, new = read_content(before), read_content(after)
    assert old.format == new.format != "other"
    for part in ("shape", "metadata", "trailer", "bound"):
        assert getattr(new, part) == getattr(old, part), part
    shown_before, shown_after = dict(old.pixels), dict(new.pixels)
    both = shown_before.keys() & shown_after.keys()  # Pillow is no judge of grey of 16 bits
    assert both
    assert {name: shown_before[name] for name in both} == {name: shown_after[name] for name in both}


@pytest.mark.parametrize("name", [name for name in GOOD if name != "16bit-rgb.png"])
def test_a_good_image_becomes_smaller_and_stays_the_same_picture(name: str) -> None:
    outcome, result = run(GOOD[name])
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    assert outcome.size_bytes == len(result) < len(GOOD[name])
    assert_same(GOOD[name], result)


@pytest.mark.parametrize("name", images.damaged())
def test_a_file_that_is_no_whole_image_ends_with_a_reason_and_no_result(name: str) -> None:
    kind, word = reason(images.damaged()[name])
    assert kind in (FailureKind.CORRUPT, FailureKind.REJECTED)
    assert word


@pytest.mark.parametrize("name", images.special_jpegs() | images.special_pngs())
def test_a_file_with_more_in_it_than_a_rewrite_keeps_is_left_alone(name: str) -> None:
    outcome, result = run((images.special_jpegs() | images.special_pngs())[name])
    assert (outcome.verdict, result) == (Verdict.KEPT, b"")


def test_a_result_that_saves_too_little_is_dropped() -> None:
    _, once = run(GOOD["baseline.jpg"])
    outcome, result = run(once, JobSettings(min_saving=0.01))
    assert outcome.verdict is Verdict.KEPT
    assert outcome.failure is not None and outcome.failure.reason == "not-smaller"
    assert result == b""


def test_a_saving_just_under_what_is_asked_for_is_dropped_and_one_at_it_kept() -> None:
    data = GOOD["rgb.png"]
    _, result = run(data)
    share = 1 - len(result) / len(data)
    assert run(data, JobSettings(min_saving=share + 0.001))[0].verdict is Verdict.KEPT
    assert run(data, JobSettings(min_saving=share - 0.001))[0].verdict is Verdict.OPTIMIZED


def test_segments_between_scans_and_behind_the_tables_are_kept_in_their_order() -> None:
    data = GOOD["progressive.jpeg"]
    second_scan = data.index(b"\xff\xc4", data.index(b"\xff\xda"))
    data = data[:second_scan] + b"\xff\xfe\0\6late" + data[second_scan:]
    data = images.with_segment(data, 0xE1, images.exif(3))
    outcome, result = run(data)
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    assert_same(data, result)


def test_metadata_that_no_parser_accepts_is_kept_byte_for_byte() -> None:
    for body in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"ICC_PROFILE\0\7\1short", b"JFXX\0\x10nonsense", b""):
        data = images.with_segment(GOOD["baseline.jpg"], 0xE1 if body[:1] == b"E" else 0xE2, body)
        outcome, result = run(data)
        assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
        assert body in result
        assert_same(data, result)


def test_colours_are_told_from_component_names_where_there_is_no_jfif() -> None:
    data = GOOD["full-colour.jpg"]
    bare = data[:2] + data[2 + 2 + int.from_bytes(data[4:6], "big") :]
    named = bare.replace(b"\1\x11\0\2\x11\1\3\x11\1", b"R\x11\0G\x11\1B\x11\1").replace(
        b"\3\1\0\2\x11\3\x11", b"\3R\0G\x11B\x11"
    )
    assert named != bare
    for variant in (bare, named):
        outcome, result = run(variant)
        assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
        assert_same(variant, result)


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


def test_a_wrong_checksum_of_a_comment_is_kept_with_the_comment() -> None:
    data = bytearray(GOOD["text.png"])
    data[data.index(b"tEXt") + 4] ^= 1
    outcome, result = run(bytes(data))
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    at = data.index(b"tEXt") - 4
    assert bytes(data[at : at + 24]) in result


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


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_transparent_shade_of_a_grey_png_survives_a_change_of_depth(depth: int) -> None:
    samples = bytes((row * 37 + column) % 256 for row in range(96) for column in range(96 * depth // 8))
    data = images.raw_png(96, 96, depth, 0, samples, before=images.chunk(b"tRNS", b"\0\1"))
    outcome, result = run(data)
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    assert_same(data, result)


@pytest.mark.parametrize("depth", [8, 16])
def test_grey_of_16_bits_that_are_really_8_becomes_8(depth: int) -> None:
    shades = [(row * column) % 251 for row in range(64) for column in range(64)]
    flip = 0 if depth == 8 else 1  # the low byte repeats the high one, or does not quite
    data = images.raw_png(64, 64, 16, 0, b"".join(bytes((shade, shade ^ flip)) for shade in shades))
    outcome, result = run(data)
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    assert result[24] == depth
    assert_same(data, result)


def test_chunks_that_speak_of_samples_keep_the_samples_as_they_are() -> None:
    flat = bytes((10, 10, 10)) * 64 * 64
    for chunk in (images.chunk(b"sBIT", b"\5\6\5"), images.chunk(b"bKGD", bytes(6)), images.chunk(b"PLTE", b"\1\2\3")):
        outcome, result = run(images.raw_png(64, 64, 8, 2, flat, before=chunk))
        assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
        assert result[24:26] == b"\x08\x02"
        assert chunk in result


def test_grey_does_not_become_colour_nor_colour_grey_under_a_profile() -> None:
    profile = images.chunk(b"iCCP", b"name\0\0" + zlib.compress(images.icc()))
    veiled = bytes(value for at in range(64 * 64) for value in (at % 3 * 100, at % 2 * 77))
    outcome, result = run(images.raw_png(64, 64, 8, 4, veiled, before=profile))
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    assert result[25] in (0, 4)
    outcome, result = run(images.raw_png(64, 64, 8, 2, bytes((7, 7, 7)) * 64 * 64, before=profile))
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    assert result[25] in (2, 3, 6)
    assert profile in result


def test_offsets_into_the_old_data_are_left_out() -> None:
    data = images.with_chunks(GOOD["rgb.png"], before=images.chunk(b"iDOT", bytes(28)))
    outcome, result = run(data)
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    assert b"iDOT" not in result
    assert_same(GOOD["rgb.png"], result)


def test_a_result_with_other_pixels_or_metadata_is_never_accepted() -> None:
    """The last line of defence, asked directly: the codecs give it no wrong result to find."""
    png, other = GOOD["text.png"], GOOD["grey.png"]
    layout = png_layout.parse(BytesSource(png))
    picture = png_format._picture(png, layout)
    for result, word in ((GOOD["rgb.png"], "metadata-differs"), (other, "metadata-differs")):
        with pytest.raises(Unfit) as caught:
            Png()._verify(png, layout, picture, result)
        assert caught.value.failure == Failure(FailureKind.UNVERIFIED, word, caught.value.failure.detail)
    plain = png_layout.parse(BytesSource(other))
    with pytest.raises(Unfit) as caught:
        Png()._verify(other, plain, png_format._picture(other, plain), GOOD["rgb.png"])
    assert caught.value.failure.reason == "pixels-differ"

    jpeg = GOOD["baseline.jpg"]
    shape = jpeg_format.parse(BytesSource(jpeg))
    before = jpeg_format._fingerprint(jpeg_format._picture(jpeg, shape), 3)
    metadata = jpeg_format._metadata(jpeg, shape)
    for result, word in ((GOOD["comment.jpg"], "metadata-differs"), (GOOD["full-colour.jpg"], "pixels-differ")):
        with pytest.raises(Unfit) as caught:
            Jpeg()._verify(before, metadata, result)
        assert caught.value.failure.reason == word


def test_a_result_that_makes_other_chunks_wrong_is_never_accepted() -> None:
    flat = bytes(64 * 64 * 3)
    for chunk in (images.chunk(b"sBIT", b"\5\6\5"), images.chunk(b"iCCP", b"name\0\0" + zlib.compress(images.icc()))):
        data = images.raw_png(64, 64, 8, 2, flat, before=chunk)
        layout = png_layout.parse(BytesSource(data))
        grey = images.raw_png(64, 64, 8, 0, flat[: 64 * 64], before=chunk)
        with pytest.raises(Unfit) as caught:
            Png()._verify(data, layout, png_format._picture(data, layout), grey)
        assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.UNVERIFIED, "metadata-differs")


@pytest.mark.parametrize(("format_", "data"), [("jpeg", GOOD["baseline.jpg"]), ("png", GOOD["rgb.png"])])
def test_a_file_that_has_got_a_trailer_since_its_probe_is_left_alone(format_: str, data: bytes) -> None:
    with memory_file(data + b"new") as given, memory_file() as target:
        outcome = optimize_descriptors(given, target, ImageFacts(format_), ANY_SAVING)
    assert outcome.verdict is Verdict.KEPT
    assert outcome.failure is not None and outcome.failure.reason == "trailer"


def test_facts_that_do_not_fit_the_file_do_no_harm() -> None:
    with memory_file(GOOD["baseline.jpg"]) as given, memory_file() as target:
        outcome = optimize_descriptors(given, target, ImageFacts("png", 1, 1), ANY_SAVING)
        assert outcome.verdict is Verdict.FAILED
        assert outcome.failure is not None and outcome.failure.kind is FailureKind.CORRUPT
        outcome = optimize_descriptors(given, target, ImageFacts("webp"), ANY_SAVING)
        assert outcome.verdict is Verdict.KEPT
        assert os.fstat(target).st_size == 0


def test_an_output_that_takes_nothing_is_an_error_of_the_surroundings() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with memory_file(GOOD["baseline.jpg"]) as given, pytest.raises(OSError, match="No space left"):
            optimize_descriptors(given, full, ImageFacts("jpeg"), ANY_SAVING)
    finally:
        os.close(full)


def test_a_refusal_of_mozjpeg_is_put_down_to_memory_only_where_memory_is_limited() -> None:
    with pytest.raises(Unfit) as caught:
        jpeg_format._pack(b"no picture")
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.REJECTED, "codec-refused")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, hard))
    try:
        with pytest.raises(Unfit) as caught:
            jpeg_format._pack(b"no picture")
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.EXHAUSTED, "memory")


def test_bytes_that_the_decoder_does_not_know_at_all_are_damaged() -> None:
    with pytest.raises(Unfit) as caught:
        fingerprint(b"no picture", "PNG", lambda strip: strip.tobytes())
    assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.CORRUPT, "damaged")


def test_a_decoder_that_misses_the_end_says_truncated() -> None:
    with pytest.raises(Unfit) as caught:
        jpeg_format._fingerprint(GOOD["baseline.jpg"][:4000], 3)
    assert caught.value.failure.reason == "truncated"


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
