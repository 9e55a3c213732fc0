"""What a result is called. Pure: relative paths in, relative paths out.

A result that keeps its format has the name of its source. One in a further format has the format's extension appended
to the whole name (`a.jpg` and `a.png` become `a.jpg.webp` and `a.png.webp`), never put in place of the old one, so two
sources cannot meet at one name by being converted.

One meeting is left: `a.jpg.webp` may be a source itself. Then the name is that source's, always: `claimants` orders the
two by their names, so who has it depends on which sources there are and never on which came first.
"""

from __future__ import annotations

EXTENSIONS = {"jpeg": b"jpg", "png": b"png", "webp": b"webp", "avif": b"avif", "jxl": b"jxl", "gif": b"gif"}
"""What is appended for each format."""


def own_place(path: bytes) -> bytes:
    """Where the result of a source stands that keeps its format."""
    return path


def sibling(path: bytes, format_: str) -> bytes:
    """Where the result of a source stands that is converted to a further format (a key of EXTENSIONS)."""
    return path + b"." + EXTENSIONS[format_]


def claimants(target: bytes) -> tuple[bytes, ...]:
    """Every source whose result could stand at `target`, the one that it belongs to first."""
    for extension in EXTENSIONS.values():
        source = target.removesuffix(b"." + extension)
        if source != target and source.rpartition(b"/")[2]:
            return (target, source)
    return (target,)
