"""Pictures that belong to another file beside them: the JPEG that a camera writes with each raw file. Pure.

Photo managers show such a pair as one picture and go by the common stem. Other sidecars (XMP and the like) are no
images and are left alone for that.
"""

from __future__ import annotations

from imgoptd.core.model import Failure, FailureKind

IN_MANIFEST = "in-checksum-manifest"
RAW_SIDECAR = "raw-sidecar"

RAW_EXTENSIONS = (
    b"cr2", b"cr3", b"crw", b"nef", b"nrw", b"arw", b"srf", b"sr2", b"dng", b"orf", b"rw2", b"raf", b"pef", b"srw",
    b"x3f", b"3fr", b"fff", b"iiq", b"mef", b"mos", b"mrw", b"kdc", b"dcr", b"erf", b"raw", b"rwl", b"gpr",
)  # fmt: skip
"""Of cameras' raw files, lower case (ExifTool's list of file types)."""

_RAW = frozenset(RAW_EXTENSIONS)
_DEVELOPED = frozenset({b"jpg", b"jpeg", b"jpe", b"heic", b"heif", b"hif"})


def raw_stem(name: bytes) -> bytes | None:
    """The name without its extension if it is that of a raw file, in any case."""
    stem, _, extension = name.rpartition(b".")
    return stem if stem and extension.lower() in _RAW else None


def sidecar_stem(name: bytes) -> bytes | None:
    """The name without its extension if a camera writes such files beside its raw ones."""
    stem, _, extension = name.rpartition(b".")
    return stem if stem and extension.lower() in _DEVELOPED else None


def usual_raws(name: bytes) -> list[bytes]:
    """What a camera calls the raw file of that sidecar: both extensions in capitals or neither. Empty if it is none."""
    stem = sidecar_stem(name)
    if stem is None:
        return []
    large = name[-1:].isupper()
    return [stem + b"." + (extension.upper() if large else extension) for extension in RAW_EXTENSIONS]


def in_manifest(manifest: str) -> Failure:
    """`manifest`: its path below the watched folder, to be shown."""
    detail = f"the checksum manifest {manifest} names it, and would not match a smaller file"
    return Failure(FailureKind.REJECTED, IN_MANIFEST, detail)


def beside_unread_manifest(manifest: str, why: str) -> Failure:
    detail = f"the checksum manifest {manifest} {why}: whatever it may name is left alone"
    return Failure(FailureKind.REJECTED, IN_MANIFEST, detail)


def sidecar_of(raw: str) -> Failure:
    return Failure(FailureKind.REJECTED, RAW_SIDECAR, f"it belongs to the raw file {raw} beside it")
