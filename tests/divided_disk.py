"""A filesystem that project quotas divide: no rename leads from one project's folder to another's (EXDEV)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def divided_disk(folder: Path, inner: str) -> Iterator[Path]:
    """Mount an xfs of one project at `folder`, with a folder `inner` of another. Skips where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("to mount an xfs needs root")
    if shutil.which("mkfs.xfs") is None:
        pytest.skip("mkfs.xfs is not installed (Debian's xfsprogs)")
    image = folder.with_suffix(".xfs")
    with image.open("wb") as file:
        file.truncate(400 << 20)  # sparse; mkfs.xfs makes none much smaller
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no xfs can be mounted: {mounted.stderr.decode().strip()}")
    try:
        (folder / inner).mkdir()
        for project, of in (("5", folder), ("7", folder / inner)):
            subprocess.run(["chattr", "-p", project, "+P", of], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
