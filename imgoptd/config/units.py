"""Times, sizes and shares as a person writes them: `"30s"`, `"10GiB"`, `"1%"`. Pure: text in, base units out, and back.

A bare number is refused, for nobody can tell whether `30` was meant in seconds or milliseconds; only 0 needs no unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

TIME_UNITS: Mapping[str, int] = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Milliseconds in each, smallest first."""

SIZE_UNITS: Mapping[str, int] = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
"""Bytes in each, smallest first."""

# Twelve digits before the point keep every product far inside a 64-bit integer.
_QUANTITY = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?) ?(?P<unit>[A-Za-z%]*)")


class Wrong(ValueError):
    """A value that cannot be taken: `what` is wrong with it and the `mend`, both in the words of a person."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend


def seconds(value: object) -> float:
    """Seconds from `"500ms"`, `"30s"`, `"5min"`, `"1h"`, `"30d"` or 0; raises Wrong."""
    return _quantity(value, TIME_UNITS, "time", "30s") / 1000


def size(value: object) -> int:
    """Bytes from `"64KiB"`, `"500MiB"`, `"10GiB"` or 0; raises Wrong. A part of a byte is dropped."""
    return int(_quantity(value, SIZE_UNITS, "size", "500MiB"))


def fraction(value: object) -> float:
    """A share from `"1%"`, as a fraction in 0..1, or 0; raises Wrong."""
    percent = _quantity(value, {"%": 1}, "share", "1%")
    if percent > 100:
        raise Wrong("is more than all of it", 'write at most "100%"')
    return percent / 100


def _quantity(value: object, units: Mapping[str, int], noun: str, example: str) -> float:
    if value == 0 and type(value) is int:
        return 0
    mend = f'write it like "{example}"'
    if not isinstance(value, str):
        raise Wrong(f"is not a {noun} with its unit", mend)
    match = _QUANTITY.fullmatch(value.strip())
    if match is None:
        raise Wrong(f"is not a {noun}", mend)
    number, unit = match["number"], match["unit"]
    if unit not in units:
        if not unit and float(number) == 0:
            return 0
        what = f'has an unknown unit "{unit}"' if unit else "has no unit"
        raise Wrong(what, f"use {_either(list(units))}, as in {example}")
    return float(number) * units[unit]


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def show_time(value_s: float) -> str:
    """The time as the configuration would write it, to the millisecond: `1.5` is `"1500ms"`, `300` is `"5min"`."""
    return _show(round(value_s * 1000), TIME_UNITS, "ms")


def show_size(value_bytes: int) -> str:
    """The size as the configuration would write it where that is exact: `"10GiB"`; else a count of bytes."""
    return _show(value_bytes, SIZE_UNITS, " bytes")


def show_fraction(value: float) -> str:
    """The share in percent: `0.01` is `"1%"`."""
    return f"{value * 100:.9g}%"


def _show(count: int, units: Mapping[str, int], smallest: str) -> str:
    if count == 0:
        return "0"
    for unit, factor in reversed(list(units.items())):
        if count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}{smallest}"
