"""Small helpers around a watched folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tests import images

T = TypeVar("T")


def drop(folder: Path, made: Mapping[str, bytes]) -> list[Path]:
    """Write the files where they are watched, as `cp` does."""
    paths = []
    for name, data in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


def unique(data: bytes, mark: str) -> bytes:
    """The same picture as a content of its own: a comment tells it from its twins."""
    if data[:3] == b"\xff\xd8\xff":
        return images.with_segment(data, 0xFE, mark.encode())
    return images.with_chunks(data, images.chunk(b"tEXt", b"Comment\0" + mark.encode()))


def eventually(look: Callable[[], T], timeout_s: float = 30.0, what: str = "") -> T:
    """Ask until the answer is true; raise with the last answer after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or look.__name__}; last answer: {answer!r}")
        time.sleep(0.05)
    return answer


def beneath(folder: Path) -> list[bytes]:
    return sorted(os.path.join(top, name) for top, _, names in os.walk(os.fsencode(folder)) for name in names)


def found_images(limit: int = 40) -> list[Path]:
    """Up to `limit` real JPEGs and PNGs from installed packages, each content once; maybe few, or none."""
    seen: set[bytes] = set()
    found: list[Path] = []
    for top, folders, names in os.walk("/usr/share"):
        folders.sort()
        for name in sorted(names):
            path = Path(top, name)
            if path.suffix not in (".png", ".jpg") or path.is_symlink() or not 300 <= path.stat().st_size <= 100_000:
                continue
            if (data := path.read_bytes()) not in seen:
                seen.add(data)
                found.append(path)
                if len(found) == limit:
                    return found
    return found


def mirroring(output: Path) -> str:
    """The lines of a [[watch]] table that send results into an output tree."""
    return f'mode = "output"\noutput = "{output}"'
