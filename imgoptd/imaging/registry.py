"""The formats that can be optimised."""

from __future__ import annotations

from importlib.metadata import version

from imgoptd.imaging.codecs.base import Codec
from imgoptd.imaging.codecs.jpeg import Jpeg
from imgoptd.imaging.codecs.png import Png

CODECS: tuple[Codec, ...] = (Jpeg(), Png())


def by_content(head: bytes) -> Codec | None:
    """The codec of a file that begins with `head`."""
    return next((codec for codec in CODECS if codec.sniff(head)), None)


def by_name(name: str) -> Codec | None:
    return next((codec for codec in CODECS if codec.name == name), None)


def tools() -> dict[str, str]:
    """Of each format: the libraries that work on it, with their versions, as a crash is told of them."""
    return dict(_TOOLS)


_TOOLS = {codec.name: ", ".join(f"{package} {version(package)}" for package in codec.packages) for codec in CODECS}
