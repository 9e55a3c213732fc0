"""Reading one TOML table with errors that name file, key, value, fault and mend in one line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from imgoptd.config.units import Wrong
from imgoptd.core.text import one_line, show_path

T = TypeVar("T")
N = TypeVar("N", int, float)

SHOWN_CHARACTERS = 80
"""A longer value is cut in a message."""


class ConfigError(Exception):
    """The configuration cannot be used. `str()` is one line: `FILE: key = value: what is wrong; what to do`."""

    def __init__(self, source: Path, subject: str, what: str, mend: str) -> None:
        file = show_path(os.fsencode(source))
        super().__init__(": ".join(part for part in (file, subject, f"{one_line(what)}; {one_line(mend)}") if part))


class Table:
    """One table of the file. Messages put `name` before a key: `daemon.log`, or `watch "/srv/a" priority`."""

    def __init__(self, source: Path, name: str, values: Mapping[str, Any], separator: str = ".") -> None:
        self._source = source
        self._prefix = name + separator if name else ""
        self._values = values

    @property
    def source(self) -> Path:
        return self._source

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def names(self) -> list[str]:
        return list(self._values)

    def only(self, known: Iterable[str]) -> None:
        """Raise for the first key that is not `known`, with the nearest one that is."""
        known = list(known)
        for key in self._values:
            if key not in known:
                self.fail(key, "is not a known key", suggest(key, known))

    def take(self, key: str, read: Callable[[Any], T], default: T) -> T:
        """The key's value through `read`, which raises Wrong; `default` where the key is not there."""
        return self._read(key, read) if key in self._values else default

    def need(self, key: str, read: Callable[[Any], T], mend: str) -> T:
        """As `take`, of a key that must be there."""
        if key not in self._values:
            raise ConfigError(self._source, f"{self._prefix}{_show_key(key)}", "is missing", mend)
        return self._read(key, read)

    def _read(self, key: str, read: Callable[[Any], T]) -> T:
        try:
            return read(self._values[key])
        except Wrong as wrong:
            self.fail(key, wrong.what, wrong.mend, wrong)

    def table(self, key: str) -> Table:
        """The table under `key`; an empty one where there is none."""
        value: dict[str, Any] = self.take(key, mapping, {})
        return Table(self._source, f"{self._prefix}{_show_key(key)}", value)

    def fail(self, key: str, what: str, mend: str, cause: Exception | None = None) -> NoReturn:
        """Raise ConfigError about the key and the value it has in the file."""
        subject = f"{self._prefix}{_show_key(key)}"
        if key in self._values:
            subject += f" = {show_value(self._values[key])}"
        raise ConfigError(self._source, subject, what, mend) from cause


def suggest(word: str, known: Iterable[str], otherwise: str = "remove it, or use one of") -> str:
    """The mend for an unknown word: the near one, else all there are."""
    known = list(known)
    lowered = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f'did you mean "{lowered[near[0]]}"?' if near else f"{otherwise} {', '.join(known)}"


def show_value(value: object) -> str:
    """A value as TOML would write it, on one line and cut where it is long."""
    shown = one_line(_toml(value))
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[: SHOWN_CHARACTERS - 3] + "..."


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{_show_key(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return str(value)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{one_line(escaped)}"'


def _show_key(key: str) -> str:
    bare = key.replace("-", "_").isidentifier() and key.isascii()
    return key if bare else quoted(key)


# ---- readers of single values: TOML value in, checked value out, Wrong raised ---------------------------------------


def mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("is not a table", "write it as a [section] with keys of its own")
    return value


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong("is neither true nor false", "write true or false, without quotes")
    return value


def text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong("is not a text", "put it in quotes")
    return value


def texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Wrong("is not a list of texts", 'write it like ["*.jpg", "*.png"]')
    return tuple(value)


def integer(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        # bool is an int to Python, not to TOML
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong("is not a whole number", f"write a number from {low} to {high}, without quotes")
        if not low <= value <= high:
            raise Wrong("is out of range", f"write a number from {low} to {high}")
        return value

    return read


def choice(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if text(value) not in words:
            raise Wrong("is not one of its values", suggest(str(value), words, "use one of"))
        return str(value)

    return read


def between(read: Callable[[object], N], low: N, high: N, shown: Callable[[N], str]) -> Callable[[object], N]:
    """`read`, and refuse what lies outside low..high."""

    def check(value: object) -> N:
        taken = read(value)
        if not low <= taken <= high:
            raise Wrong("is out of range", f"write {shown(low)} to {shown(high)}")
        return taken

    return check
