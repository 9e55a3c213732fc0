"""A filesystem on which case makes no difference: NTFS through FUSE, mounted as Windows would see it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def case_blind_disk(folder: Path) -> Iterator[Path]:
    """Mount one at `folder`, from a file beside it. Lists all names in small letters. Skips where it cannot be."""
    for program in ("mkfs.ntfs", "lowntfs-3g"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian's ntfs-3g)")
    image = folder.with_suffix(".ntfs")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ntfs", "-F", "-Q", "-q", image], check=True, capture_output=True)
    folder.mkdir()
    mounted = subprocess.run(
        ["lowntfs-3g", "-o", "ignore_case,streams_interface=xattr", image, folder], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"NTFS cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
