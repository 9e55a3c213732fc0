"""Fixtures of the integration tier."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.store import Store
from tests.integration.checking import write_config
from tests.integration.journald_fixture import PrivateJournal, private_journal


@pytest.fixture(scope="session")
def journal() -> Iterator[PrivateJournal]:
    """A journald that all tests share: match on a field of your own."""
    with private_journal() as started:
        yield started


@pytest.fixture
def own_journal() -> Iterator[PrivateJournal]:
    """A journald for one test that hurts it."""
    with private_journal() as started:
        yield started


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Not there yet, nor the folder above it."""
    return tmp_path / "deep" / "state"


@pytest.fixture
def store(state_dir: Path) -> Iterator[Store]:
    """A new one, in `state_dir`."""
    opened = Store.open(state_dir)
    yield opened
    opened.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user may enter, with `drop` to watch and a configuration for `imgoptd --check`."""
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        home.chmod(0o755)
        (home / "drop").mkdir()
        write_config(home)
        yield home
