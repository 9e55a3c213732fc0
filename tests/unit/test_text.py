"""Names, sizes and times as a person sees them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.text import one_line, show_bytes, show_path, show_saving, show_seconds


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"/srv/plain name.jpg", "/srv/plain name.jpg"),
        (b"/srv/a\nb", r"/srv/a\nb"),
        (b"/srv/\x1b[31mred", r"/srv/\x1b[31mred"),
        (b"/srv/\xff\xfe", r"/srv/\xff\xfe"),
        ("/srv/b\u00e4r \u732b.png".encode(), "/srv/b\u00e4r \u732b.png"),
        ("/srv/\u202egpj.exe".encode(), r"/srv/\u202egpj.exe"),
        ("/srv/a\u3000b".encode(), "/srv/a\u3000b"),
        (b"/srv/back\\xff", r"/srv/back\\xff"),
        ("/srv/\U000e0001".encode(), r"/srv/\U000e0001"),
    ],
)
def test_a_path_is_shown_printably_and_its_oddities_escaped(path: bytes, shown: str) -> None:
    assert show_path(path) == shown


@given(st.binary(), st.binary())
def test_two_paths_never_look_the_same(one: bytes, other: bytes) -> None:
    assert (show_path(one) == show_path(other)) == (one == other)


@given(st.text())
def test_one_line_is_one_line_and_is_not_changed_by_another_pass(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert one_line(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10_189, "9.95 KiB"),
        (10_240, "10.0 KiB"),
        (348_160, "340 KiB"),
        (1_048_500, "1.00 MiB"),
        (1_270_000, "1.21 MiB"),
        (5 << 30, "5.00 GiB"),
        (3 << 60, "3072 PiB"),
        (-2048, "-2.00 KiB"),
    ],
)
def test_a_size_has_three_digits_and_its_unit(size: int, shown: str) -> None:
    assert show_bytes(size) == shown


def test_a_saving_shows_both_sizes_and_the_share() -> None:
    assert show_saving(1_270_000, 1_164_590) == "1.21 MiB -> 1.11 MiB (-8.3 %)"
    assert show_saving(0, 0) == "0 B -> 0 B"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.0404, "40 ms"),
        (0.9996, "1.0 s"),
        (1.5, "1.5 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (273_600, "3 d 4 h"),
        (-1.5, "-1.5 s"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown
