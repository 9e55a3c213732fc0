"""Real memory groups of either version, made for a test and gone after it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")


@contextmanager
def memory_groups(limits: dict[str, int]) -> Iterator[Path]:
    """Nested groups with limits in bytes, outermost first. Yields the innermost. Skips where there can be none."""
    if (V1 / "memory.limit_in_bytes").exists():
        base, file = V1, "memory.limit_in_bytes"
    elif _has_memory(V2):
        base, file = V2, "memory.max"
    else:
        pytest.skip("no memory controller to make a group in")
    made: list[Path] = []
    try:
        try:
            for name, limit in limits.items():
                base = base / name
                base.mkdir()
                made.append(base)
                (base / file).write_text(str(limit))
                control = base / "cgroup.subtree_control"
                if control.exists() and name != list(limits)[-1]:
                    control.write_text("+memory")
        except OSError as error:
            pytest.skip(f"memory groups cannot be made here: {error}")
        yield base
    finally:
        for folder in reversed(made):
            remove(folder)


def remove(folder: Path) -> None:
    """A group may be busy for a moment after its last process has ended."""
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.02)
    folder.rmdir()


def _has_memory(folder: Path) -> bool:
    control = folder / "cgroup.subtree_control"
    return control.exists() and "memory" in control.read_text().split() and os.access(folder, os.W_OK)
