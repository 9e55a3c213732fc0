"""Whole jobs through descriptors: what comes out is smaller and the same, or there is a reason."""

from __future__ import annotations

import os
import resource
import zlib

import pytest

from imgoptd.core.model import Failure, FailureKind, ImageFacts, JobSettings, Verdict
from imgoptd.imaging.codecs import jpeg as jpeg_format
from imgoptd.imaging.codecs import png as png_format
from imgoptd.imaging.codecs import png_layout
from imgoptd.imaging.codecs.jpeg import Jpeg
from imgoptd.imaging.codecs.png import Png
from imgoptd.imaging.failures import Unfit
from imgoptd.imaging.optimize import optimize_descriptors
from imgoptd.imaging.picture import fingerprint
from imgoptd.imaging.source import BytesSource
from tests import images
from tests.checker.content import read_content
from tests.memory import memory_file
from tests.optimizing import ANY_SAVING, GOOD, run


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


def test_a_wrong_checksum_of_a_comment_is_kept_with_the_comment() -> None:
    data = bytearray(GOOD["text.png"])
    data[data.index(b"tEXt") + 4] ^= 1
    outcome, result = run(bytes(data))
    assert outcome.verdict is Verdict.OPTIMIZED, outcome.failure
    at = data.index(b"tEXt") - 4
    assert bytes(data[at : at + 24]) in result


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
            Png()._verify(layout, png_format._metadata(png, layout), picture, result)
        assert caught.value.failure == Failure(FailureKind.UNVERIFIED, word, caught.value.failure.detail)
    plain = png_layout.parse(BytesSource(other))
    with pytest.raises(Unfit) as caught:
        Png()._verify(plain, [], png_format._picture(other, plain), GOOD["rgb.png"])
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
            Png()._verify(layout, [chunk], png_format._picture(data, layout), grey)
        assert (caught.value.failure.kind, caught.value.failure.reason) == (FailureKind.UNVERIFIED, "metadata-differs")


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
