"""How paths, sizes and times look to a person. Pure: bytes and numbers in, one line of text out.

A file name may hold a newline, an escape sequence of the terminal, or bytes that are no UTF-8. What is shown is always
one printable line from which the name can be told exactly.
"""

from __future__ import annotations

from unicodedata import category

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_BYTE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def show_path(path: bytes) -> str:
    r"""The path in printable characters: others escaped, a backslash doubled, bytes that are no UTF-8 as `\xNN`."""
    return one_line(path.decode("utf-8", "surrogateescape").replace("\\", "\\\\"))


def one_line(text: str) -> str:
    """The text with every character that moves the cursor, hides or cannot be encoded replaced by an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_visible(character) else _escape(character) for character in text)


def _is_visible(character: str) -> bool:
    # isprintable() refuses every space but U+0020; the wide ones are common in Japanese file names and do no harm.
    return character.isprintable() or category(character) == "Zs"


def _escape(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, carried by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def show_bytes(size: int) -> str:
    """A size in bytes with three significant digits: `0 B`, `999 B`, `1.21 MiB`, `340 KiB`."""
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _BYTE_UNITS:
        value /= 1024
        # 1023.5 would be rounded up to a four-digit 1024
        if abs(value) < 1023.5 or unit == _BYTE_UNITS[-1]:
            break
    if abs(value) < 9.995:
        return f"{value:.2f} {unit}"
    return f"{value:.1f} {unit}" if abs(value) < 99.95 else f"{value:.0f} {unit}"


def show_saving(before: int, after: int) -> str:
    """What became of a size: `1.21 MiB -> 1.11 MiB (-8.3 %)`."""
    if before <= 0:
        return f"{show_bytes(before)} -> {show_bytes(after)}"
    return f"{show_bytes(before)} -> {show_bytes(after)} ({(after - before) / before:+.1%})".replace("%", " %")


def show_seconds(seconds: float) -> str:
    """A duration with its two largest units: `40 ms`, `1.5 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 0:
        return "-" + show_seconds(-seconds)
    if round(seconds * 1000) < 1000:
        return f"{round(seconds * 1000)} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 86400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return _two(whole // 86400, "d", whole % 86400 // 3600, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
