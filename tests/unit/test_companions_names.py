"""Which names belong together: a raw file and the picture that a camera writes with it."""

from __future__ import annotations

import pytest

from imgoptd.core.companions import raw_stem, sidecar_stem, usual_raws


@pytest.mark.parametrize("name", [b"IMG_1.CR2", b"IMG_1.nef", b"IMG_1.Dng", b"IMG_1.3FR"])
def test_a_raw_file_is_known_by_its_extension_in_any_case(name: bytes) -> None:
    assert raw_stem(name) == b"IMG_1"


@pytest.mark.parametrize("name", [b"IMG_1.JPG", b"IMG_1.jpeg", b"IMG_1.Heic", b"IMG_1.hif"])
def test_a_camera_writes_jpeg_or_heif_beside_it(name: bytes) -> None:
    assert sidecar_stem(name) == b"IMG_1"


@pytest.mark.parametrize("name", [b"IMG_1.png", b"IMG_1.CR2.xmp", b"IMG_1", b".jpg", b".CR2", b"jpg", b""])
def test_other_names_are_neither(name: bytes) -> None:
    assert sidecar_stem(name) is None
    assert raw_stem(name) is None


def test_the_stem_is_all_before_the_last_dot() -> None:
    assert sidecar_stem(b"IMG_1.CR2.jpg") == b"IMG_1.CR2"  # an export of a raw file, no part of the pair
    assert raw_stem(b"IMG_1.CR2") == b"IMG_1"


def test_the_usual_names_are_those_of_raw_files() -> None:
    assert b"IMG_1.CR2" in usual_raws(b"IMG_1.JPG")
    assert b"IMG_1.nef" in usual_raws(b"IMG_1.jpg")
    assert {raw_stem(name) for name in usual_raws(b"IMG_1.jpg") + usual_raws(b"IMG_1.JPG")} == {b"IMG_1"}
    assert usual_raws(b"IMG_1.png") == []
