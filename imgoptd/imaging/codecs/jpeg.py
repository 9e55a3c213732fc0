"""JPEG (ITU-T T.81, JFIF, Exif): parsed by segments, repacked by MozJPEG, put together again by us.

MozJPEG rewrites the entropy coding alone. It is given the picture without its metadata, because hostile metadata makes
it end the process, and the original's metadata segments are put back byte for byte, whatever it would have done.
"""

from __future__ import annotations

import hashlib
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import mozjpeg_lossless_optimization as mozjpeg  # type: ignore[import-untyped]  # the package ships no types
import simplejpeg  # type: ignore[import-untyped]  # neither does this one

from imgoptd.core.model import Failure, ImageFacts, JobSettings
from imgoptd.imaging.codecs.base import check_saving
from imgoptd.imaging.failures import Unfit, corrupt, damaged, exhausted, rejected, truncated, unverified
from imgoptd.imaging.limits import check_dimensions, check_parts
from imgoptd.imaging.source import WINDOW_BYTES, BytesSource, Source

SOI, EOI, SOS, COM, DRI, APP0, APP1, APP2, APP11, APP14 = 0xD8, 0xD9, 0xDA, 0xFE, 0xDD, 0xE0, 0xE1, 0xE2, 0xEB, 0xEE
FRAMES_DONE = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended sequential and progressive, all with Huffman coding."""
FRAMES_OTHER = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""Lossless, hierarchical and arithmetic-coded frames."""
ODD_MARKERS = frozenset({0xC8, 0xCC, 0xDC, 0xDE, 0xDF, *range(0xF0, 0xFE), *range(0x02, 0xC0)})
"""Reserved, and those that go with arithmetic coding (DAC), unknown height (DNL) and hierarchy (DHP, EXP)."""
STANDALONE = frozenset({0x01, SOI, *range(0xD0, 0xD8)})
"""Markers without a length, which have no place between segments."""

MAX_SCANS = 100
"""Pillow was seen to hang on 400 repeated progressive scans; encoders write about ten."""
PIXELS_PER_BYTE = 512
"""A block of 64 pixels takes at least one bit in the component of full resolution: fewer bytes cannot hold it."""

_DECODED_AS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
"""Number of components to the colour space of the decoded pixels."""

_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")


class Part(NamedTuple):
    """A segment, with SOS together with the entropy-coded data behind it. `start` is at its 0xFF, `end` behind it."""

    marker: int
    start: int
    end: int

    @property
    def is_metadata(self) -> bool:
        return self.marker == COM or 0xE0 <= self.marker <= 0xEF


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole JPEG stream: its parts in order, SOI and EOI left out."""

    facts: ImageFacts
    parts: tuple[Part, ...]
    metadata_ids: tuple[bytes, ...]
    """The first bytes of each metadata part, in order."""


class Jpeg:
    name = "jpeg"
    packages = ("mozjpeg-lossless-optimization", "simplejpeg")

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"\xff\xd8\xff")

    def probe(self, source: Source) -> ImageFacts:
        return parse(source).facts

    def optimize(self, data: bytes, settings: JobSettings) -> bytes:
        layout = parse(BytesSource(data))
        if layout.facts.leave is not None:
            raise Unfit(layout.facts.leave)
        _check_restarts(data, layout)
        size, metadata = len(data), _metadata(data, layout)
        picture = _picture(data, layout)
        del data  # the comparison takes most memory: by then nothing stands beside it that is not needed
        # Strictly before anything else: MozJPEG makes a picture that ends early into one that opens cleanly.
        before = _fingerprint(picture, layout.facts.channels)
        packed = _pack(picture)
        del picture
        result = b"".join((b"\xff\xd8", *metadata, *_coding(packed, parse(BytesSource(packed))), b"\xff\xd9"))
        del packed
        check_saving(size, len(result), settings)
        self._verify(before, metadata, result)
        return result

    def _verify(self, before: str, metadata: list[bytes], result: bytes) -> None:
        layout = parse(BytesSource(result))
        if layout.facts.leave is not None or _metadata(result, layout) != metadata:
            raise Unfit(unverified("metadata-differs", "the result does not hold the original's metadata"))
        if _fingerprint(_picture(result, layout), layout.facts.channels) != before:
            raise Unfit(unverified("pixels-differ", "the result does not show the original's pixels"))


def parse(source: Source) -> Layout:
    """Walk over every segment and scan up to the end of the file.

    Raises Unfit: CORRUPT for a damaged or truncated stream, REJECTED over a limit.
    """
    facts = ImageFacts("jpeg")
    leave: Failure | None = None
    parts: list[Part] = []
    ids: list[bytes] = []
    scans = metadata_bytes = 0
    for part in _walk(source):
        if part.marker == EOI:
            break
        parts.append(part)
        if part.is_metadata:
            metadata_bytes += part.end - part.start
            content = source.read(part.start, part.end - part.start)[4:]
            ids.append(content[:32])
            leave = leave or _reason_in_metadata(part.marker, content)
            if scans and part.marker != COM:  # readers stop at the first scan: moved before it, it would begin to act
                leave = leave or _variant("metadata stand behind the first scan")
        elif part.marker in FRAMES_DONE or part.marker in FRAMES_OTHER:
            facts, variant = _frame(source, part, facts)
            leave = leave or variant
        elif part.marker in ODD_MARKERS:
            leave = leave or _variant(f"the marker 0x{part.marker:02X} is not supported")
        scans += part.marker == SOS
        if part.marker == SOS and not facts.channels and leave is None:
            raise damaged("a scan comes before the frame header")
        if scans > MAX_SCANS:
            raise Unfit(rejected("too-many-scans", f"the file has more than {MAX_SCANS} scans"), facts)
        check_parts(len(parts), metadata_bytes, facts)
    if leave is None:
        _check_whole(source, facts, scans)
        if part.end < source.size:
            leave = rejected("trailer", f"{source.size - part.end} bytes follow the end of the picture")
    return Layout(replace(facts, leave=leave), tuple(parts), tuple(ids))


def _walk(source: Source) -> Iterator[Part]:
    """Every segment after SOI, EOI included, where it ends. Raises Unfit (CORRUPT) for a broken or ending stream."""
    at = 2
    while True:
        head = source.read(at, 4)
        while head[:2] == b"\xff\xff":  # fill bytes before a marker (T.81 B.1.1.2)
            at += 1
            head = source.read(at, 4)
        if len(head) < 2:
            raise truncated("the file ends before the end-of-image marker")
        if head[0] != 0xFF or head[1] == 0 or head[1] in STANDALONE:
            raise damaged(f"no segment begins at byte {at}")
        marker = head[1]
        if marker == EOI:
            yield Part(EOI, at, at + 2)
            return
        length = int.from_bytes(head[2:4], "big")
        end = at + 2 + length
        if len(head) < 4 or end > source.size:
            raise truncated(f"the segment 0x{marker:02X} at byte {at} ends behind the file")
        if length < 2:
            raise damaged(f"the segment 0x{marker:02X} at byte {at} has an impossible length")
        if marker == SOS:
            end = _end_of_scan(source, end)
        yield Part(marker, at, end)
        at = end


def _end_of_scan(source: Source, at: int) -> int:
    """Where the marker stands that ends the entropy-coded data beginning at `at`."""
    while True:
        block = source.read(at, WINDOW_BYTES)
        found = _MARKER_IN_SCAN.search(block)
        if found:
            return at + found.start()
        if at + len(block) >= source.size:
            raise truncated("the file ends within the picture's data")
        at += len(block) - 1  # a marker may straddle two blocks


def _frame(source: Source, part: Part, known: ImageFacts) -> tuple[ImageFacts, Failure | None]:
    """Facts from a frame header, and why the file is to be left alone, if it is."""
    body = source.read(part.start + 4, part.end - part.start - 4)
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise damaged("the frame header is too short")
    if known.channels:
        return known, _variant("it has more than one frame")
    facts = ImageFacts(
        "jpeg",
        width=int.from_bytes(body[3:5], "big"),
        height=int.from_bytes(body[1:3], "big"),
        depth_bits=body[0],
        channels=body[5],
        progressive=part.marker in (0xC2, 0xC6, 0xCA, 0xCE),
        sampling=_sampling([body[7 + 3 * index] for index in range(body[5])]),
    )
    if part.marker in FRAMES_OTHER:
        return facts, _variant("it is arithmetic-coded, lossless or hierarchical")
    if facts.depth_bits != 8:
        return facts, _variant(f"it has {facts.depth_bits} bits a sample")
    if facts.channels not in (1, 3, 4):
        return facts, _variant(f"it has {facts.channels} components")
    if facts.height == 0:
        return facts, _variant("its height stands behind the picture")
    check_dimensions(facts)
    if facts.channels > 1 and not facts.sampling:
        return facts, rejected("unverifiable-sampling", "its colours are sampled in a way that cannot be compared yet")
    return facts, None


_SAMPLINGS = {0x11: "4:4:4", 0x21: "4:2:2", 0x22: "4:2:0", 0x12: "4:4:0", 0x41: "4:1:1"}
"""By the factors of the first component, where those of the colours are 1."""


def _sampling(factors: list[int]) -> str:
    """As people call it, written in the usual way: what TurboJPEG decodes (turbojpeg.h, TJSAMP); empty for others.

    `factors` is a byte for each component, horizontal in its upper half. Black, the fourth, goes with the first. Grey
    pictures have none.
    """
    if len(factors) not in (3, 4):
        return ""
    luma, *chroma = factors[:3]
    usual = set(chroma) == {0x11} and factors[3:] in ([], [luma])
    return _SAMPLINGS.get(luma, "") if usual else ""


def _variant(why: str) -> Failure:
    return rejected("jpeg-variant", f"this kind of JPEG is left alone: {why}")


def _reason_in_metadata(marker: int, content: bytes) -> Failure | None:
    """Why a file with this segment is left alone: it speaks of the original's bytes, or of what follows them."""
    if marker == APP2 and content.startswith(b"MPF\0"):
        return rejected("multi-picture", "the file holds further pictures (MPF)")
    if marker == APP2 and content.startswith(b"urn:iso:std:iso:ts:21496:-1\0"):
        return rejected("gain-map", "the file has a gain map (ISO 21496-1)")
    if marker == APP1 and b"http://ns.adobe.com/hdr-gain-map/1.0/" in content:
        return rejected("gain-map", "the file has a gain map (hdrgm)")
    if marker == APP11 and content.startswith(b"JP") and b"c2pa" in content:
        return rejected("signed-content", "the file is signed (C2PA); a rewrite would break its signature")
    return None


def _check_whole(source: Source, facts: ImageFacts, scans: int) -> None:
    if not scans:
        raise damaged("the file has no picture in it")
    if source.size * PIXELS_PER_BYTE < facts.pixels:
        raise truncated(f"{source.size} bytes cannot hold {facts.width} x {facts.height} pixels")


def _check_restarts(data: bytes, layout: Layout) -> None:
    """Raise Unfit (CORRUPT) where restart markers are out of turn: data is missing, and decoders paint over it."""
    if not any(part.marker == DRI for part in layout.parts):
        return
    for part in layout.parts:
        if part.marker == SOS:
            found = _RESTART.finditer(data, part.start, part.end)
            if any(mark.group(1)[0] - 0xD0 != turn % 8 for turn, mark in enumerate(found)):
                raise damaged("restart markers are missing or out of turn")


def _metadata(data: bytes, layout: Layout) -> list[bytes]:
    return [data[part.start : part.end] for part in layout.parts if part.is_metadata]


def _coding(data: bytes, layout: Layout) -> list[bytes]:
    return [data[part.start : part.end] for part in layout.parts if not part.is_metadata]


def _picture(data: bytes, layout: Layout) -> bytes:
    """The file without its metadata, but for the JFIF and Adobe segments, which tell the decoder the colour space."""
    ids = iter(layout.metadata_ids)
    kept = [b"\xff\xd8"]
    for part in layout.parts:
        if part.is_metadata:
            content = next(ids)
            jfif = part.marker == APP0 and content.startswith(b"JFIF\0")
            adobe = part.marker == APP14 and content.startswith(b"Adobe")
            if not jfif and not adobe:
                continue
        kept.append(data[part.start : part.end])
    kept.append(b"\xff\xd9")
    return b"".join(kept)


def _fingerprint(picture: bytes, channels: int) -> str:
    """SHA-256 over size and pixels (grey, RGB or CMYK), decoded by libjpeg-turbo with every warning taken for damage.

    A decoder that paints over damage would let it be baked into a result that looks whole. Raises Unfit: CORRUPT for
    damage, EXHAUSTED for want of memory.
    """
    try:
        pixels = simplejpeg.decode_jpeg(picture, _DECODED_AS[channels], strict=True)
    except ValueError as error:
        raise _objection(str(error)) from error
    digest = hashlib.sha256(f"{pixels.shape}\n".encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def _objection(said: str) -> Unfit:
    if "nsufficient memory" in said:
        return Unfit(exhausted("the decoder ran out of memory"))
    if "Premature end" in said:
        return truncated(f"the decoder says: {said}")
    return Unfit(corrupt("undecodable", f"the decoder says: {said}"))


def _pack(picture: bytes) -> bytes:
    """The same coefficients in fewer bytes. May end the process (status 1): it handles no errors while it writes."""
    try:
        packed: bytes = mozjpeg.optimize(picture, copy=mozjpeg.COPY_MARKERS.NONE)
    except ValueError as error:
        # It says no more than this. The picture has just been decoded by the same family of code, so that under a
        # memory limit the limit is the likely cause.
        if resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY:
            raise Unfit(exhausted("MozJPEG gave up, most likely for want of memory")) from error
        raise Unfit(rejected("codec-refused", "MozJPEG does not take this file")) from error
    return packed
