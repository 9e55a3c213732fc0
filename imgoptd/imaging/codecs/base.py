"""What a format has to bring."""

from __future__ import annotations

from typing import Protocol

from imgoptd.core.model import ImageFacts, JobSettings
from imgoptd.imaging.failures import Unfit, rejected
from imgoptd.imaging.source import Source


class Codec(Protocol):
    @property
    def name(self) -> str:
        """The format, as in `ImageFacts.format`."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Of the Python package index: whose compiled code works on the file."""

    def sniff(self, head: bytes) -> bool:
        """Does a file that begins with `head` have this format?"""

    def probe(self, source: Source) -> ImageFacts:
        """What the headers say, with `leave` set where the file is to be left alone. Decodes nothing.

        Raises Unfit for a file that is damaged or over a limit.
        """

    def optimize(self, data: bytes, settings: JobSettings) -> bytes:
        """A smaller file that was decoded and found to hold the same picture and the same metadata.

        Raises Unfit: REJECTED where there is nothing to gain, CORRUPT, EXHAUSTED or UNVERIFIED. Raises MemoryError.
        """


def check_saving(before: int, after: int, settings: JobSettings) -> None:
    """Raise Unfit (REJECTED, `not-smaller`) unless `after` bytes save enough of `before`."""
    if after >= before or after > before * (1.0 - settings.min_saving):
        saved = max(0, before - after)
        detail = f"{saved} of {before} bytes could be saved; {settings.min_saving:.1%} are asked for"
        raise Unfit(rejected("not-smaller", detail))
