"""Taking one filesystem for another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgoptd.adapters import filesystems


def take_for(monkeypatch: pytest.MonkeyPatch, folder: Path, other: filesystems.Filesystem) -> None:
    """Have what the folder lies on, and all of its kind, be taken for another filesystem until the test is over."""
    descriptor = os.open(folder, os.O_PATH)
    kind = filesystems.magic_of(descriptor)
    os.close(descriptor)
    monkeypatch.setitem(filesystems._KNOWN, kind, other)
