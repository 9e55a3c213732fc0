"""What is inside one file: format, pixels by several decoders, metadata piece by piece, trailer."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import shutil
import subprocess
import warnings
from dataclasses import dataclass

from PIL import Image

from tests.checker import jpeg, png
from tests.checker.jpeg import Broken

OWN_DECODER_LIMIT_BYTES = 16 << 20
"""Larger PNGs (raw samples) are left to Pillow: the decoder here is plain Python."""


@dataclass(frozen=True, slots=True)
class ContentFacts:
    sha256: str
    size: int
    format: str
    """`jpeg`, `png`, or `other` for everything that may only stay byte for byte, damaged files included."""
    shape: tuple[object, ...] = ()
    """JPEG: frame header and the quantisation of each component. PNG: width and height."""
    pixels: tuple[tuple[str, str], ...] = ()
    """Decoder -> digest of all frames."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Label -> digest of each segment or chunk, in order."""
    bound: tuple[object, ...] = ()
    """PNG: what must not change because some chunk speaks of it (sBIT, bKGD, hIST, iCCP)."""
    trailer: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    """What exiftool reads, where it is installed and was asked for."""


def decoders() -> dict[str, str]:
    """Which tools this machine lends to the comparison."""
    own = {"png": f"own decoder up to {OWN_DECODER_LIMIT_BYTES >> 20} MiB of samples, and Pillow", "jpeg": "Pillow"}
    if shutil.which("djpeg"):
        own["jpeg"] = "djpeg, and Pillow"
    own["tags"] = "exiftool" if shutil.which("exiftool") else "none: exiftool is not installed"
    return own


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_known: dict[tuple[str, bool], ContentFacts] = {}
"""Facts depend on the bytes alone, so each content is decoded once in a process."""


def read_content(data: bytes, *, tags: bool = False) -> ContentFacts:
    key = (_digest(data), tags)
    if key not in _known:
        _known[key] = _read(data, key[0], tags)
    return _known[key]


def _read(data: bytes, digest: str, tags: bool) -> ContentFacts:
    try:
        if data[:3] == b"\xff\xd8\xff":
            facts = _read_jpeg(data, digest)
        elif data[:8] == png.SIGNATURE:
            facts = _read_png(data, digest)
        else:
            return ContentFacts(digest, len(data), "other")
    except (Broken, IndexError):
        return ContentFacts(digest, len(data), "other")
    if not tags:
        return facts
    return ContentFacts(
        facts.sha256,
        facts.size,
        facts.format,
        facts.shape,
        facts.pixels,
        facts.metadata,
        facts.bound,
        facts.trailer,
        exiftool_tags(data),
    )


def _read_jpeg(data: bytes, digest: str) -> ContentFacts:
    picture = jpeg.parse(data)
    pixels = [("Pillow", _pillow_digest(data, "JPEG"))]
    if len(picture.component_tables) in (1, 3) and (tool := _djpeg()):
        run = subprocess.run([tool, "-dct", "int", "-pnm"], input=data, capture_output=True, check=False)
        if run.returncode or run.stderr:
            raise Broken(run.stderr.decode("ascii", "replace"))
        pixels.append(("djpeg", _digest(run.stdout)))
    return ContentFacts(
        digest,
        len(data),
        "jpeg",
        shape=(picture.frame, tuple(map(_digest, picture.component_quantisation))),
        pixels=tuple(pixels),
        metadata=tuple((_jpeg_label(marker, body), _digest(body)) for marker, body in picture.metadata),
        trailer=_digest(picture.trailer) if picture.trailer else "",
    )


@functools.cache
def _djpeg() -> str | None:
    return shutil.which("djpeg")


def _jpeg_label(marker: int, body: bytes) -> str:
    if marker == 0xFE:
        return "COM"
    word = body[:40].split(b"\0")[0].decode("ascii", "replace")
    return f"APP{marker - 0xE0} {word}".rstrip()


def _read_png(data: bytes, digest: str) -> ContentFacts:
    picture = png.parse(data)
    # Pillow holds 16-bit grey in a mode of its own, which says nothing about an 8-bit successor.
    deep_grey = picture.depth == 16 and picture.colour == 0
    pixels = [] if deep_grey else [("Pillow", _pillow_digest(data, "PNG"))]
    if picture.raw_bytes <= OWN_DECODER_LIMIT_BYTES:
        whole = hashlib.sha256()
        for row in png.canonical_rows(picture):
            whole.update(row)
        pixels.append(("own", whole.hexdigest()))
    elif picture.depth == 16:
        # Pillow shows 16-bit colour in 8 bits: equal there proves nothing, so such a file may not change at all.
        return ContentFacts(digest, len(data), "other")
    return ContentFacts(
        digest,
        len(data),
        "png",
        shape=(picture.width, picture.height),
        pixels=tuple(pixels),
        metadata=tuple((f"{name.decode('latin-1')} {place}", _digest(body)) for place, name, body in _placed(picture)),
        bound=_png_bound(picture),
        trailer=_digest(picture.trailer) if picture.trailer else "",
    )


def _placed(picture: png.Png) -> list[tuple[str, bytes, bytes]]:
    """Where a palette comes or goes with the colour type, "before the palette" and "before the data" are one place,
    but for the chunks that the format ties to the palette."""
    tied = {b"bKGD", b"hIST"}
    return [
        ("before the data" if place == "before the palette" and name not in tied else place, name, body)
        for place, name, body in picture.metadata
    ]


def _png_bound(picture: png.Png) -> tuple[object, ...]:
    names = {name for _, name, _ in picture.metadata}
    bound: list[object] = []
    if names & {b"sBIT", b"bKGD", b"hIST"}:
        bound.append(("colour type and depth", picture.colour, picture.depth))
        if picture.colour == 3:
            bound.append(("palette", _digest(picture.palette)))
    if names & {b"iCCP", b"cICP"}:
        bound.append(("grey or colour", picture.colour in (0, 4)))
    return tuple(bound)


def _pillow_digest(data: bytes, name: str) -> str:
    """All frames, in the mode that the file calls for; palettes and grey as RGBA, for a PNG may change between them."""
    whole = hashlib.sha256()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about a file is not the question here
            picture = Image.open(io.BytesIO(data), formats=(name,))
        with picture:
            for number in range(getattr(picture, "n_frames", 1)):
                picture.seek(number)
                frame = picture.convert("RGBA") if name == "PNG" else picture
                whole.update(repr((number, frame.mode, frame.size)).encode())
                whole.update(frame.tobytes())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Broken(str(error)) from error
    return whole.hexdigest()


_ENCODING_TAGS = ("System:", "File:", "ExifTool:", "Composite:", "SourceFile")
_ENCODING_PNG = {"PNG:BitDepth", "PNG:ColorType", "PNG:Interlace", "PNG:Palette", "PNG:Transparency", "PNG:Filter"}


def exiftool_tags(data: bytes) -> tuple[tuple[str, str], ...]:
    """Every tag that is not about the file itself or the encoding of its pixels."""
    if not shutil.which("exiftool"):
        return ()
    run = subprocess.run(["exiftool", "-a", "-G1", "-j", "-n", "-"], input=data, capture_output=True, check=True)
    tags = json.loads(run.stdout)[0]
    return tuple(
        sorted(
            (name, json.dumps(value))
            for name, value in tags.items()
            if not name.startswith(_ENCODING_TAGS) and name not in _ENCODING_PNG
        )
    )
