"""Paths deeper than a system call takes in one go, made step by step."""

from __future__ import annotations

import os
from pathlib import Path

STEP = b"d" * 200


def deep(root: Path, name: bytes, *, folder_bytes: int = 4200) -> bytes:
    """Make a file in a folder whose path below `root` is so many bytes long; return the file's path below `root`."""
    steps = [STEP] * (folder_bytes // (len(STEP) + 1))
    steps.append(b"e" * (folder_bytes - len(b"/".join(steps)) - 1))
    root.mkdir(exist_ok=True)
    fd = os.open(root, os.O_PATH)
    for step in steps:
        os.mkdir(step, dir_fd=fd)
        below = os.open(step, os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd))
    os.close(fd)
    return b"/".join([*steps, name])
