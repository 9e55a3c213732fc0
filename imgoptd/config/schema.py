"""What a valid configuration holds, in base units: bytes, seconds, fractions. Everything here is immutable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imgoptd.core.model import JobSettings


@dataclass(frozen=True, slots=True)
class DaemonSection:
    state_dir: Path = Path("/var/lib/imgoptd")
    control: Path = Path("/run/imgoptd/control.sock")
    log: str = "auto"
    """auto | journal | text | json"""
    stop_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What all workers together may hold: `auto` (both None), bytes, or a fraction of the machine's memory."""

    bytes: int | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class WorkersSection:
    min: int = 0
    max: int = 0
    """0: as many as the CPUs this process may use."""
    memory_budget: MemoryBudget = MemoryBudget()
    job_timeout_s: float = 300.0
    nice: int = 10


@dataclass(frozen=True, slots=True)
class UndoSection:
    keep_s: float = 30 * 86400.0
    """0: none is kept."""
    lossless: bool = False
    """Keep originals of lossless results, too."""
    max_size_bytes: int = 10 << 30
    """Jobs that must keep an original wait beyond it."""


@dataclass(frozen=True, slots=True)
class Watch:
    path: bytes
    """Absolute, without a trailing slash."""
    profile: str = "archive"
    mode: str = "replace"
    """replace | output"""
    output: bytes = b""
    """With mode output: the tree that results go to, absolute; else empty."""
    recursive: bool = True
    existing: str = "ignore"
    """ignore | optimize"""
    settle_s: float = 1.0
    priority: int = 5
    backend: str = "auto"
    """auto | native | poll"""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    min_saving: float = 0.01
    """Fraction."""
    companions: str = "leave"
    """leave | optimize: files named in a checksum manifest, and the JPEG beside a raw file"""
    hard_links: str = "leave"
    """leave | part"""
    settings: JobSettings = JobSettings()
    """Resolved from the profile and min_saving."""
    trees_inside: tuple[bytes, ...] = ()
    """Output trees, of this folder or another, that lie in it: paths below it. Nothing there is input."""


@dataclass(frozen=True, slots=True)
class Config:
    source: Path
    daemon: DaemonSection
    workers: WorkersSection
    undo: UndoSection
    watches: tuple[Watch, ...]
