"""The import contracts bite: a forbidden import, put into a copy of the package, is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

FORBIDDEN = [
    ("core/model.py", "import time"),
    ("core/model.py", "import os.path"),
    ("core/model.py", "from imgoptd.config import schema"),
    ("adapters/scanner.py", "import PIL.Image"),
    ("adapters/scanner.py", "import imgoptd.daemon"),
    ("daemon/__init__.py", "import imgoptd.worker"),
    ("worker/loop.py", "import asyncio"),
    ("worker/loop.py", "import imgoptd.adapters"),
    ("config/load.py", "import imgoptd.wire.frames"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.prefix) / "bin" / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "imgoptd", tmp_path / "imgoptd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_keeps_its_contracts(copy: Path) -> None:
    result = lint(copy)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("module", "line"), FORBIDDEN)
def test_a_forbidden_import_is_found(copy: Path, module: str, line: str) -> None:
    with (copy / "imgoptd" / module).open("a") as source:
        source.write(f"\n{line}\n")
    result = lint(copy)

    assert result.returncode == 1
    assert "BROKEN" in result.stdout
