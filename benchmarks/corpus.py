"""What the runners work on: a folder that was given, or a small set found and made here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import tests.harness
import tests.images

FORMATS = {b"\xff\xd8\xff": "jpeg", b"\x89PN": "png"}
"""By the first three bytes: the formats that both sides work on. Others are left alone by both."""


def copy(corpus: Path, target: Path) -> None:
    """A fresh copy, flat or not, of the regular files; written back, so that no runner pays for it."""
    shutil.copytree(corpus, target, symlinks=True)
    os.sync()


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of the files by format, and of all."""
    total = {"jpeg": 0, "png": 0, "other": 0, "all": 0}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                kind = FORMATS.get(file.read(3), "other")
            total[kind] += path.stat().st_size
            total["all"] += path.stat().st_size
    return total


def small(target: Path) -> None:
    """For a machine with no corpus at hand: photo-like JPEGs and PNGs of several sizes, and what is installed."""
    target.mkdir()
    for number in range(24):
        width = 400 + 150 * number
        picture = tests.images.photo(width, width * 3 // 4, seed=number)
        if number % 3 == 2:
            (target / f"made-{number:02}.png").write_bytes(tests.images.png(picture.resize((width // 2, width // 3))))
        else:
            data = tests.images.jpeg(picture, quality=80 + number % 15, progressive=number % 2 == 0)
            (target / f"made-{number:02}.jpg").write_bytes(data)
    for number, path in enumerate(tests.harness.found_images(60)):
        shutil.copy(path, target / f"found-{number:02}{path.suffix}")
