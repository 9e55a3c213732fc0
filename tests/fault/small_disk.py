"""A filesystem of a test's own that is easily full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str = "2m") -> Iterator[Path]:
    """Mount one at `folder`, which is made where it is missing."""
    if os.geteuid() != 0:
        pytest.skip("to mount a small tmpfs needs root")
    folder.mkdir(exist_ok=True)
    mount(folder, size)
    try:
        yield folder
    finally:
        unmount(folder)


def mount(folder: Path, size: str = "2m") -> None:
    """Skips the test where mounting is not allowed."""
    options = f"size={size},mode=755"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")


def unmount(folder: Path) -> None:
    """Also under a process that holds it open."""
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    """A file that takes all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            for piece in (1 << 16, 1):
                while file.write(bytes(piece)):
                    pass
        except OSError:
            return
