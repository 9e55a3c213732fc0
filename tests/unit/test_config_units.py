import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.config import units
from imgoptd.config.units import Wrong


@pytest.mark.parametrize(
    ("written", "meant_s"),
    [("500ms", 0.5), ("30s", 30), ("5min", 300), ("1h", 3600), ("30d", 2592000), ("1.5 s", 1.5), (" 2s ", 2), (0, 0)],
)
def test_a_time_is_read_in_seconds(written: object, meant_s: float) -> None:
    assert units.seconds(written) == meant_s


@pytest.mark.parametrize(
    ("written", "meant_bytes"),
    [("64KiB", 65536), ("500MiB", 500 << 20), ("10GiB", 10 << 30), ("1TiB", 1 << 40), ("0.5KiB", 512), ("0", 0)],
)
def test_a_size_is_read_in_bytes(written: object, meant_bytes: int) -> None:
    assert units.size(written) == meant_bytes


@pytest.mark.parametrize(("written", "meant"), [("1%", 0.01), ("0.5%", 0.005), ("100%", 1.0), (0, 0)])
def test_a_share_is_read_as_a_fraction(written: object, meant: float) -> None:
    assert units.fraction(written) == meant


@pytest.mark.parametrize(
    ("written", "what", "mend"),
    [
        (30, "is not a time with its unit", 'write it like "30s"'),
        (True, "is not a time with its unit", 'write it like "30s"'),
        (False, "is not a time with its unit", 'write it like "30s"'),
        ("30", "has no unit", "use ms, s, min, h or d, as in 30s"),
        ("5m", 'has an unknown unit "m"', "use ms, s, min, h or d, as in 30s"),
        ("5 MIN", 'has an unknown unit "MIN"', "use ms, s, min, h or d, as in 30s"),
        ("-1s", "is not a time", 'write it like "30s"'),
        ("1h30min", "is not a time", 'write it like "30s"'),
        ("", "is not a time", 'write it like "30s"'),
        ("9" * 13 + "s", "is not a time", 'write it like "30s"'),
        ("inf s", "is not a time", 'write it like "30s"'),
    ],
)
def test_a_time_that_cannot_be_read_says_what_to_write(written: object, what: str, mend: str) -> None:
    with pytest.raises(Wrong) as caught:
        units.seconds(written)
    assert (caught.value.what, caught.value.mend) == (what, mend)


@pytest.mark.parametrize("written", [1024, "10GB", "10G", "10", "1.2.3MiB", None, ["1MiB"]])
def test_a_size_without_a_binary_unit_is_refused(written: object) -> None:
    with pytest.raises(Wrong):
        units.size(written)


@pytest.mark.parametrize("written", [0.01, "1", "101%", "-1%", "1 percent"])
def test_a_share_that_is_no_percentage_is_refused(written: object) -> None:
    with pytest.raises(Wrong):
        units.fraction(written)


@given(st.integers(0, 999_999_999_999))
def test_every_time_is_shown_as_it_may_be_written(milliseconds: int) -> None:
    assert units.seconds(units.show_time(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 999_999_999_999))
def test_every_size_in_whole_kib_is_shown_as_it_may_be_written(kib: int) -> None:
    assert units.size(units.show_size(kib << 10)) == kib << 10


@given(st.integers(0, 10_000))
def test_every_share_is_shown_as_it_may_be_written(hundredths: int) -> None:
    assert units.fraction(units.show_fraction(hundredths / 10_000)) == pytest.approx(hundredths / 10_000, abs=1e-12)


@given(st.text())
def test_any_text_is_read_or_refused(written: str) -> None:
    for read in (units.seconds, units.size, units.fraction):
        try:
            assert read(written) >= 0
        except Wrong as wrong:
            assert wrong.what
            assert wrong.mend


def test_what_is_no_round_number_of_units_is_shown_exactly() -> None:
    assert units.show_time(1.5) == "1500ms"
    assert units.show_size(1000) == "1000 bytes"
    assert units.show_fraction(0.005) == "0.5%"
