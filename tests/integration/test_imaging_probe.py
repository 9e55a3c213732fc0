"""What a probe does with files too long to hold, and with files that change or cannot be read."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from imgoptd.core.model import FailureKind, ImageFacts
from imgoptd.imaging import source
from imgoptd.imaging.failures import Unfit
from imgoptd.imaging.probe import probe_descriptor
from imgoptd.imaging.source import FileSource, read_exactly
from tests import images
from tests.memory import memory_file

GOOD = {"baseline.jpg": images.jpeg(images.photo()), "rgb.png": images.png(images.photo())}


def test_a_film_of_ten_gigabytes_is_left_alone_without_being_read() -> None:
    with memory_file(b"\0\0\0\x18ftypisom\0\0\0\0isommp42") as film:
        os.ftruncate(film, 10 << 30)
        before = read_bytes_so_far()
        facts = probe_descriptor(film)
        assert read_bytes_so_far() - before < 1 << 20
    assert isinstance(facts, ImageFacts) and facts.leave is not None
    assert facts.leave.reason == "not-an-image"


def read_bytes_so_far() -> int:
    with open("/proc/self/io", "rb") as lines:
        return int(lines.readline().split()[1])


def test_a_jpeg_too_long_to_hold_and_metadata_beyond_reason_are_left_alone() -> None:
    with memory_file(GOOD["baseline.jpg"]) as given:
        os.ftruncate(given, (1 << 30) + 1)
        long = probe_descriptor(given)
    assert isinstance(long, ImageFacts) and long.leave is not None
    assert (long.format, long.leave.reason) == ("jpeg", "too-large")
    with memory_file(GOOD["rgb.png"][:33] + struct.pack(">I", 65 << 20) + b"zzZz") as given:
        os.ftruncate(given, 70 << 20)
        heavy = probe_descriptor(given)
    assert isinstance(heavy, ImageFacts) and heavy.leave is not None
    assert heavy.leave.reason == "metadata-too-large"


def test_a_file_that_shrinks_while_it_is_read_has_changed() -> None:
    with memory_file(GOOD["baseline.jpg"]) as given:
        opened = FileSource(given)
        os.ftruncate(given, 1000)
        with pytest.raises(Unfit) as caught:
            opened.read(0, opened.size)
    assert caught.value.failure.kind is FailureKind.CHANGED


def test_a_file_that_grows_while_it_is_read_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_file(GOOD["baseline.jpg"]) as file:

        def read_then_grow(descriptor: int, offset: int, count: int) -> bytes:
            data = read_exactly(descriptor, offset, count)
            os.write(file, b"more")
            return data

        monkeypatch.setattr(source, "read_exactly", read_then_grow)
        with pytest.raises(Unfit) as caught:
            source.read_whole(file)
    assert caught.value.failure.kind is FailureKind.CHANGED


def test_a_descriptor_that_cannot_be_read_is_an_error_of_the_surroundings(tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    file.write_bytes(GOOD["baseline.jpg"])
    blind = os.open(file, os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            probe_descriptor(blind)
    finally:
        os.close(blind)
