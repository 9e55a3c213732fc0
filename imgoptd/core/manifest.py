"""Checksum manifests: which files are lists of checksums, and which files they name. Pure: bytes in, names out.

A file that is named in one has a checksum that somebody may rely on, and a smaller file would fail it. So what is in
doubt is read as a name: one name too many leaves a file as it is, one too few breaks the proof of it.

Formats: coreutils (`HASH  NAME`, `HASH *NAME`, a backslash in front where the name has escapes, `--tag`, `--zero`),
BSD (`SHA256 (NAME) = HASH`, `HASH NAME`), SFV (`NAME CRC32`, comments after `;`), BagIt (RFC 8493: `%0A` and the like),
Windows tools (backslashes, CRLF, UTF-16 with its mark). The escapes: coreutils manual, "cksum output modes".
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from unicodedata import normalize

_ALGORITHMS = frozenset(
    f"{family}{bits}"
    for family, sizes in {
        "md5": ("",), "sha": ("1", "224", "256", "384", "512"), "sha-": ("1", "224", "256", "384", "512"),
        "sha3-": ("224", "256", "384", "512"), "b": ("2", "3"), "blake": ("2", "2b", "2s", "3"),
        "xxh": ("", "32", "64", "128", "3"), "crc": ("", "32"),
    }.items()
    for bits in sizes
)  # fmt: skip
_EXTENSIONS = frozenset(
    word.encode()
    for algorithm in _ALGORITHMS
    for word in (algorithm, f"{algorithm}sum", f"{algorithm}sums")
) | {b"sfv", b"hash", b"checksum", b"checksums"}  # fmt: skip
"""Of `NAME.md5` for one file and `photos.md5` for many."""

_WORDS = frozenset(
    word.encode() for algorithm in _ALGORITHMS for word in (f"{algorithm}sum", f"{algorithm}sums", f"{algorithm}-sums")
) | {b"checksum", b"checksums"}
_BAGIT = frozenset(f"manifest-{algorithm}".encode() for algorithm in _ALGORITHMS)
_ENDS = tuple(sorted(_WORDS | _BAGIT, key=len, reverse=True))
_LAST_BYTES = frozenset(word[-1:] for word in _ENDS)
"""What is asked first, for speed: folders hold very many pictures and few lists."""
_SEPARATORS = b"-_. "
"""What may stand between a name of its own and `SHA256SUMS`; `tagmanifest-md5.txt` needs none."""

USUAL_NAMES = (
    b"SHA256SUMS", b"sha256sums.txt", b"SHA512SUMS", b"SHA1SUMS", b"MD5SUMS", b"md5sums.txt", b"B2SUMS", b"CHECKSUMS",
    b"checksums.txt",
)  # fmt: skip
"""Lists of many files as they are mostly called."""
USUAL_EXTENSIONS = (b".md5", b".sha1", b".sha256", b".sha512", b".sfv")
"""Of the manifest of one file, after its whole name."""


def is_manifest(name: bytes) -> bool:
    """Is a file of this name a list of checksums, or the checksum of one file?"""
    tail = _without_txt(name.lower())
    stem, _, extension = tail.rpartition(b".")
    if stem and extension in _EXTENSIONS:
        return True
    if tail[-1:] not in _LAST_BYTES or not tail.endswith(_ENDS):
        return False
    word = next(end for end in _ENDS if tail.endswith(end))
    before = tail[: -len(word)]
    return not before or before[-1] in _SEPARATORS or (word in _BAGIT and before == b"tag")


def subject(name: bytes) -> bytes | None:
    """The file that a manifest is about by its own name (`a.jpg` of `a.jpg.md5`), or None. It need not exist."""
    tail = _without_txt(name)
    stem, _, extension = tail.rpartition(b".")
    return stem if stem and extension.lower() in _EXTENSIONS else None


def _without_txt(name: bytes) -> bytes:
    return name[:-4] if name[-4:].lower() == b".txt" else name


# ---- reading --------------------------------------------------------------------------------------------------------

_UNTAGGED = re.compile(rb"[ \t]*(\\?)[0-9A-Fa-f]{8,256}[ \t](.+)", re.DOTALL)
_TAGGED = re.compile(rb"[ \t]*(\\?)[A-Za-z0-9][A-Za-z0-9/_-]* ?\((.+)\) ?= ?[^\s()]+\s*", re.DOTALL)
_CRC32 = re.compile(rb"[ \t][0-9A-Fa-f]{8}")
"""At the end of a line of an SFV."""
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
_UNESCAPED = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}
_PERCENT = re.compile(rb"%(0[AaDd]|25)")
_MOST_PATH_BYTES, _MOST_STEP_BYTES = 16384, 1024
"""No path has more than 4096 bytes (PATH_MAX), no step of it 255 (NAME_MAX); more where accents stand apart."""
_ODD_STEP = re.compile(r"(?:^|/)(?:\.{0,2})(?:/|$)")
"""An empty step of a path, `.` or `..`."""


def names_in(content: bytes) -> frozenset[str]:
    """The paths that a manifest names, as `key` writes them, without a leading slash, `.` and `..`.

    A line of no known format names nothing. Whatever stands there, the time it takes grows as the content does.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.decode("utf-16", "replace").encode("utf-8", "surrogateescape")
    zero = b"\0" in content  # md5sum --zero: no escapes, and a newline is a part of a name
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\0" if zero else b"\n")
    return frozenset(_resolved(key(name)) for line in lines for name in _of_line(line, zero) if _can_be(name))


def _can_be(name: bytes) -> bool:
    """Can a file have that path? Composing the accents of a longer name takes the square of its length."""
    if len(name) <= _MOST_STEP_BYTES:
        return True
    return len(name) <= _MOST_PATH_BYTES and max(map(len, name.split(b"/"))) <= _MOST_STEP_BYTES


def _of_line(line: bytes, zero: bool) -> Iterator[bytes]:
    """What the line may name."""
    if not zero:
        line = line.removesuffix(b"\r")
    tagged = _TAGGED.fullmatch(line)
    found = tagged or _UNTAGGED.fullmatch(line)
    if found is None:
        line = line.rstrip(b" \t")
        if _CRC32.fullmatch(line[-9:]) and not line.startswith(b";"):
            yield from _slashed(line[:-8].rstrip(b" \t"))
        return
    name = found[2]
    if tagged is None:
        # After the hash a space, then one character for the mode; BSD's `md5 -r` has no such character.
        bare = name.lstrip(b" \t*")
        name = name[1:] if name[:1] in (b" ", b"*") else name
        if bare != name:
            yield bare
    if found[1] and not zero:
        yield _ESCAPE.sub(lambda escape: _UNESCAPED.get(escape[1], escape[0]), name)
    else:
        yield from _slashed(name)
        if b"%" in name:
            yield _PERCENT.sub(lambda code: bytes([int(code[1], 16)]), name)


def _slashed(name: bytes) -> Iterator[bytes]:
    yield name
    if b"\\" in name:  # the separator of Windows, unless it is a part of the name
        yield name.replace(b"\\", b"/")


def key(path: bytes) -> str:
    """The form in which paths are compared: case and the two ways to write an accent make no difference.

    Windows and macOS, where many lists are written, do not tell them apart either. Bytes that are no UTF-8 stay.
    """
    if path.isascii():
        return path.decode("ascii").lower()
    return normalize("NFC", path.decode("utf-8", "surrogateescape")).casefold()


def _resolved(path: str) -> str:
    if _ODD_STEP.search(path) is None:
        return path
    steps: list[str] = []
    for step in path.split("/"):
        if step == "..":
            del steps[-1:]  # one that leads out of the manifest's folder: see `named`
        elif step not in ("", "."):
            steps.append(step)
    return "/".join(steps)


def named(names: Container[str], folder: bytes, path: bytes) -> str | None:
    """The name under which a manifest in `folder` (absolute) lists the file at `path` below it; None if it does not.

    A list may have been written from a folder further up, or with absolute paths, and be put here later: so the file is
    looked for by its path from any of the folders above, too.
    """
    wanted = key(path)
    if wanted in names:
        return wanted
    for step in reversed(key(folder).split("/")):
        if step:
            wanted = f"{step}/{wanted}"
            if wanted in names:
                return wanted
    return None
