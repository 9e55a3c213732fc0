"""The commit path with a kill or a fault at a call of it: the quick form of `./dev torture --row syscalls faults`."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.replacing import NEW, OLD
from tests.torture.points import KILLED, Points
from tests.torture.report import CannotRun
from tests.torture.rows import faults, syscalls
from tests.torture.strace import needs_strace

SECONDS = 60.0
"""Not reached; a machine that is slow makes fewer rounds."""


@pytest.fixture(autouse=True)
def _strace() -> None:
    try:
        needs_strace()
    except CannotRun as reason:
        pytest.skip(str(reason))


@pytest.fixture
def points() -> Iterator[Points]:
    with Points() as made:
        yield made


def seed() -> int:
    number = random.SystemRandom().randrange(1_000_000)
    print(f"seed {number}")
    return number


def test_killed_at_a_call_of_the_commit_path_a_file_ends_old_or_new() -> None:
    report = syscalls.run(SECONDS, seed(), 30)
    assert report.failures == []
    assert report.rounds > 30


def test_a_call_of_the_commit_path_that_fails_leaves_the_original_whole_and_no_temp() -> None:
    report = faults.run(SECONDS, seed(), 40)
    assert report.failures == []
    assert report.rounds > 40


@pytest.mark.parametrize("call", ["renameat2", "unlinkat", "linkat", "fdatasync", "utimensat"])
def test_each_call_that_matters_is_among_those_killed_at(points: Points, call: str) -> None:
    assert points.calls("exchanged")[call] >= 1
    result = points.done_to("exchanged", f"{call}:signal=KILL:when=1")
    assert (result.status, result.wrong) == (KILLED, [])


def test_a_fault_from_some_call_on_is_met_more_than_once(points: Points) -> None:
    assert points.done_to("exchanged", "pwrite64:error=ENOSPC:when=1").injected == 1
    assert points.done_to("exchanged", "pwrite64:error=ENOSPC:when=1+").injected > 1


def test_what_must_not_be_is_noticed(points: Points) -> None:
    trial, before = points.trial("exchanged")
    assert points.undisturbed(trial, "exchanged") == 0
    assert points.wrong(trial, before, "exchanged") == []
    trial.path.write_bytes(NEW[:-1])
    (trial.root / ".imgoptd-0123456789abcdef.tmp").write_bytes(OLD)
    wrong = points.wrong(trial, before, "exchanged")
    assert any("not as it should be" in one for one in wrong)
    assert any("left behind" in one for one in wrong)
