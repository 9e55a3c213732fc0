"""What the configuration says of one watched folder, as far as decisions rest on it."""

from __future__ import annotations

from dataclasses import dataclass

from imgoptd.core.model import JobSettings


@dataclass(frozen=True, slots=True)
class FolderPolicy:
    root: bytes
    settle_s: float = 1.0
    priority: int = 5
    """0 first .. 9 last."""
    optimize_existing: bool = False
    settings: JobSettings = JobSettings()
    part_hard_links: bool = False
    """Replace one name of a file that has several: the others keep the original."""
    output: bytes = b""
    """The tree into which results go, the originals being left alone; empty: results replace the originals."""
