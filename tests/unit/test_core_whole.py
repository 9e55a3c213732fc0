"""Whether a file ends as whole files of its format do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.whole import ends_whole

SEGMENT = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
THUMBNAIL = b"\xff\xd8\xff\xdb\x00\x04ab\xff\xda\x00\x02scan\xff\xd9"
EXIF = b"\xff\xe1" + (2 + len(THUMBNAIL)).to_bytes(2, "big") + THUMBNAIL
SCAN = b"\xff\xda\x00\x04cd" + b"entropy coded \xff\x00 data"
JPEG = b"\xff\xd8" + SEGMENT + EXIF + b"\xff" + SEGMENT + SCAN + b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x01IDATxcrc!" + b"\0\0\0\0IEND\xaeB`\x82"
WEBP = b"RIFF" + (4 + 20).to_bytes(4, "little") + b"WEBP" + b"VP8L" + b"x" * 16
WHOLE = {"jpeg": JPEG, "png": PNG, "webp": WEBP}


def ends(data: bytes) -> bool:
    def read(offset: int, size: int) -> bytes:
        assert offset >= 0, "no file has bytes before its first"
        return data[offset : offset + size]

    return ends_whole(read, len(data))


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_ends_as_its_format_asks(kind: str) -> None:
    assert ends(WHOLE[kind])


@pytest.mark.parametrize("kind", WHOLE)
def test_no_first_part_of_a_file_ends_so_not_even_at_the_end_of_its_thumbnail(kind: str) -> None:
    data = WHOLE[kind]
    assert [length for length in range(len(data)) if ends(data[:length])] == []


@pytest.mark.parametrize("kind", WHOLE)
def test_of_a_file_with_more_behind_its_end_nothing_is_known(kind: str) -> None:
    assert not ends(WHOLE[kind] + b"more")


def test_the_end_of_the_first_of_several_pictures_is_none() -> None:
    several = b"\xff\xe2\x00\x08MPF\0ab"
    assert not ends(b"\xff\xd8" + several + SCAN + b"\xff\xd9")


def test_segments_that_lead_nowhere_are_no_whole_file() -> None:
    assert not ends(b"\xff\xd8\xff\xe0\x00\x00" + b"\xff\xd9" * 20)
    assert not ends(b"\xff\xd8" + b"\xff" * 3000 + b"\xff\xd9")
    assert not ends(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2000 + SCAN + b"\xff\xd9")


@given(st.sampled_from(sorted(WHOLE.values())), st.data())
def test_whatever_the_bytes_it_answers(whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    ends(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
