"""Damage to the store's files: each is said, or changes nothing; and a kill alone never looks like damage."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.store import Store
from tests.torture import store_damage

STORES, DAMAGES_EACH, KILLS = 10, 30, 150


@pytest.fixture
def dice() -> random.Random:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="imgoptd-test-", dir=store_damage.memory()) as path:
        yield Path(path)


def test_each_damage_is_said_or_changes_nothing_and_what_is_saved_is_sound(folder: Path, dice: random.Random) -> None:
    failures = []
    for _ in range(STORES):
        original = store_damage.make_original(folder / "original", dice)
        failures += [store_damage.damage_once(original, folder / "damaged", dice) for _ in range(DAMAGES_EACH)]
        shutil.rmtree(original.folder)
    assert [failure for failure in failures if failure] == []


def test_a_kill_at_any_moment_of_a_stores_life_is_no_damage(folder: Path, dice: random.Random) -> None:
    failures = [store_damage.kill_once(folder / "killed", dice) for _ in range(KILLS)]
    assert [failure for failure in failures if failure] == []
    store = Store.open(folder / "killed")
    try:
        assert store.opened_fresh_because == ""
        assert store.totals()["done"] > 0
    finally:
        store.close()
