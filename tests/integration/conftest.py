"""Fixtures of the integration tier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
