"""What a file is, from its headers, in one cheap pass and without a decoder."""

from __future__ import annotations

from dataclasses import replace

from imgoptd.core.model import Failure, FailureKind, ImageFacts
from imgoptd.imaging.failures import Unfit, corrupt, rejected
from imgoptd.imaging.limits import check_file_size
from imgoptd.imaging.recognize import HEAD_BYTES, recognize
from imgoptd.imaging.registry import by_content
from imgoptd.imaging.source import FileSource, Source


def probe_descriptor(descriptor: int) -> ImageFacts | Failure:
    """Facts of the file behind a readable descriptor, or why there are none (damaged, empty, changed while read).

    A file that is well but not for us (another format, a feature, a limit) has facts with `leave` set. Raises OSError.
    """
    try:
        return probe(FileSource(descriptor))
    except Unfit as unfit:
        if unfit.failure.kind is FailureKind.REJECTED:
            return replace(unfit.facts or ImageFacts("unknown"), leave=unfit.failure)
        return unfit.failure


def probe(source: Source) -> ImageFacts:
    """As `probe_descriptor`, but raises Unfit."""
    if source.size == 0:
        raise Unfit(corrupt("empty", "the file is empty"))
    head = source.read(0, HEAD_BYTES)
    codec = by_content(head)
    if codec is not None:
        check_file_size(source.size, codec.name)
        return codec.probe(source)
    format_ = recognize(head)
    if format_ is None:
        raise Unfit(rejected("not-an-image", "the content is of no image format that is known here"))
    raise Unfit(
        rejected("format-not-supported", f"{format_.upper()} is not optimised; the file is left alone"),
        ImageFacts(format_),
    )
