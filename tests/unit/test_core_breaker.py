"""The breaker of a disk: suspected by a job, tried by a probe, open until a probe goes well."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from imgoptd.core import commands as c
from imgoptd.core.breaker import (
    ANSWER_S,
    LOOK_S,
    NEED_MOST_BYTES,
    SILENCE_FIRST_S,
    SILENCE_MOST_S,
    TRIPPED,
    TRY_MOST_S,
    Breaker,
    Breakers,
    State,
    suspicious,
)
from imgoptd.core.model import Failure, FailureKind, FileRecord, FileRef, Identity, JobState, Place
from imgoptd.core.turn import Turn

PLACE = Place(b"/srv", 7)


def failure(reason: str = "io-error", kind: FailureKind = FailureKind.TRANSIENT) -> Failure:
    return Failure(kind, reason, "it says no")


def record(name: bytes = b"sub/a.jpg", size: int = 5_000_000) -> FileRecord:
    return FileRecord(FileRef(PLACE.root, name), Identity(PLACE.dev, 1, size, 1), JobState.ACTIVE)


class Disk:
    """Breakers with one place, and all that they asked for or said."""

    def __init__(self) -> None:
        self.breakers = Breakers()
        self.now_s = 0.0
        self.asked: list[c.ProbeFolder] = []
        self.said: list[str] = []

    def turn(self) -> Turn:
        return Turn(self.now_s)

    def take(self, turn: Turn) -> None:
        self.asked += [one for one in turn.commands if isinstance(one, c.ProbeFolder)]
        self.said += [one.event for one in turn.commands if isinstance(one, c.Announce)]

    def trouble(self, reason: str = "io-error") -> Breaker:
        breaker = self.breakers.trouble(turn := self.turn(), record(), failure(reason))
        self.take(turn)
        return breaker

    def answer(self, reason: str | None, *, shown: bool = False) -> None:
        self.breakers.probed(turn := self.turn(), PLACE, failure(reason) if reason else None, shown)
        self.take(turn)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.breakers.due(turn := self.turn())
        self.take(turn)

    @property
    def state(self) -> State:
        return self.breakers.state(PLACE)

    def next_in_s(self) -> float:
        deadline_s = self.breakers.next_deadline_s()
        assert deadline_s is not None
        return deadline_s - self.now_s


def opened(reason: str = "io-error", *, shown: bool = False) -> Disk:
    disk = Disk()
    disk.trouble(reason)
    disk.answer(reason, shown=shown)
    assert disk.state is State.OPEN
    return disk


def test_a_job_that_fails_has_its_disk_tried_in_the_folder_of_its_file() -> None:
    disk = Disk()
    assert disk.trouble().state is State.SUSPECTED
    assert disk.asked == [c.ProbeFolder(PLACE, record().ref, 5_000_000)]
    disk.trouble()
    assert len(disk.asked) == 1, "it is tried once, however many fail meanwhile"


def test_a_disk_that_can_be_written_is_cleared_without_a_word() -> None:
    disk = Disk()
    disk.trouble()
    disk.answer(None)
    assert (disk.state, disk.said, disk.breakers.next_deadline_s()) == (State.CLOSED, [], None)


def test_a_sick_disk_is_told_once_and_once_more_when_it_is_well() -> None:
    disk = opened()
    for _ in range(5):
        disk.pass_time(disk.next_in_s())
        assert disk.state is State.HALF_OPEN
        disk.answer("io-error")
    disk.pass_time(disk.next_in_s())
    disk.answer(None)
    assert (disk.state, disk.said) == (State.CLOSED, ["disk-ill", "disk-well"])


def test_a_disk_is_tried_less_and_less_often_but_never_less_than_every_half_minute() -> None:
    disk, delays = opened(), []
    for _ in range(5):
        delays.append(disk.next_in_s())
        disk.pass_time(disk.next_in_s())
        disk.answer("io-error")
    assert delays == [5.0, 10.0, 20.0, 30.0, 30.0]


def test_a_filesystem_that_itself_says_what_is_wrong_is_asked_every_few_seconds() -> None:
    disk = opened("no-space", shown=True)
    for _ in range(50):
        assert disk.next_in_s() == LOOK_S
        disk.pass_time(LOOK_S)
        disk.answer("no-space", shown=True)


def test_a_disk_that_does_not_answer_is_taken_for_sick_and_not_asked_twice() -> None:
    disk = Disk()
    disk.trouble()
    disk.pass_time(ANSWER_S)
    assert (disk.state, disk.said, len(disk.asked)) == (State.HALF_OPEN, ["disk-ill"], 1)
    assert disk.breakers.known[PLACE].failure.reason == "no-answer"
    assert disk.breakers.next_deadline_s() is None
    disk.answer(None)
    assert (disk.state, disk.said) == (State.CLOSED, ["disk-ill", "disk-well"])


@pytest.mark.parametrize("suspected_before", [False, True])
def test_a_want_of_our_own_needs_no_probe_to_tell_whose_it_is(suspected_before: bool) -> None:
    disk = Disk()
    if suspected_before:
        disk.trouble()
    disk.trouble("no-descriptors")
    assert (disk.state, disk.said, disk.next_in_s()) == (State.OPEN, ["disk-ill"], LOOK_S)
    disk.pass_time(LOOK_S)
    disk.answer(None)
    assert disk.state is State.CLOSED


def test_a_disk_that_comes_and_goes_is_told_less_and_less_often() -> None:
    disk, told = Disk(), list[float]()
    while disk.now_s < 86_400:
        disk.trouble()
        disk.answer("no-space", shown=True)
        told += [disk.now_s] * (disk.said.count("disk-ill") - len(told))
        disk.pass_time(LOOK_S)
        disk.answer(None)
        disk.pass_time(LOOK_S)
    gaps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert gaps[0] >= SILENCE_FIRST_S and gaps == sorted(gaps)
    assert SILENCE_MOST_S <= gaps[-1] < SILENCE_MOST_S + 3 * LOOK_S
    assert disk.said.count("disk-well") == len(told), "who hears that it is well heard that it was not"


def test_a_disk_that_falls_sick_again_within_the_silence_is_told_when_that_is_over() -> None:
    disk = opened()
    disk.pass_time(LOOK_S)
    disk.answer(None)
    disk.trouble()
    disk.answer("no-space", shown=True)
    assert disk.said == ["disk-ill", "disk-well"]
    while disk.now_s < SILENCE_FIRST_S + LOOK_S:
        disk.pass_time(LOOK_S)
        disk.answer("no-space", shown=True)
    assert disk.said == ["disk-ill", "disk-well", "disk-ill"]


def test_after_a_long_peace_the_silence_is_short_again() -> None:
    disk = Disk()
    for wait_s in (100.0, 200.0, 2 * SILENCE_MOST_S, 100.0):
        disk.trouble()
        disk.answer("io-error")
        disk.pass_time(LOOK_S)
        disk.answer(None)
        disk.pass_time(wait_s)
    disk.trouble()
    disk.answer("io-error")
    assert disk.said.count("disk-ill") == 5


def test_one_huge_file_asks_for_no_more_room_than_an_ordinary_one() -> None:
    breakers, turn = Breakers(), Turn(0.0)
    breakers.trouble(turn, record(size=1 << 40), failure("no-space"))
    [asked] = turn.commands
    assert isinstance(asked, c.ProbeFolder) and asked.need_bytes == NEED_MOST_BYTES


@pytest.mark.parametrize("reason", ["no-space", "read-only-filesystem", "io-error", "no-descriptors", "no-memory"])
def test_what_may_be_the_disks_or_ours_is_suspicious(reason: str) -> None:
    assert suspicious(failure(reason))
    assert not suspicious(failure(reason, FailureKind.CORRUPT))


@pytest.mark.parametrize("reason", ["unreadable", "not-permitted", "folder-not-writable", "metadata-not-kept", "busy"])
def test_what_is_about_rights_or_one_file_is_not(reason: str) -> None:
    assert not suspicious(failure(reason))


def test_a_place_that_is_forgotten_takes_no_late_answer() -> None:
    disk = opened()
    disk.breakers.forget([PLACE])
    disk.answer("io-error")
    assert (disk.state, disk.breakers.next_deadline_s()) == (State.CLOSED, None)


class AnyDisk(RuleBasedStateMachine):
    """Troubles, answers and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.bad_news = False
        """Since it was last closed: a failed or unanswered probe, or a want of ours."""

    @property
    def waiting_for_answer(self) -> bool:
        return self.disk.state in (State.SUSPECTED, State.HALF_OPEN)

    @rule(ours=st.booleans())
    def a_job_fails(self, ours: bool) -> None:
        self.bad_news = self.bad_news or ours
        self.disk.trouble("no-memory" if ours else "no-space")
        assert self.disk.state is not State.CLOSED

    @precondition(lambda self: self.waiting_for_answer)
    @rule(shown=st.booleans())
    def the_probe_fails(self, shown: bool) -> None:
        self.bad_news = True
        self.disk.answer("io-error", shown=shown)
        assert self.disk.state is State.OPEN

    @precondition(lambda self: self.waiting_for_answer)
    @rule()
    def the_probe_goes_well(self) -> None:
        self.disk.answer(None)
        assert self.disk.state is State.CLOSED
        self.bad_news = False

    @rule(seconds=st.sampled_from([0.5, 5.0, 30.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.bad_news = self.bad_news or (self.disk.state is State.SUSPECTED and self.disk.next_in_s() <= seconds)
        self.disk.pass_time(seconds)

    @rule(well=st.booleans())
    def an_answer_comes_that_nobody_waits_for(self, well: bool) -> None:
        if not self.waiting_for_answer:
            before = self.disk.state
            self.disk.answer(None if well else "io-error")
            assert self.disk.state is before

    @invariant()
    def it_is_open_only_after_bad_news(self) -> None:
        assert self.disk.state not in TRIPPED or self.bad_news

    @invariant()
    def it_is_never_left_alone_for_long(self) -> None:
        if self.disk.state in (State.SUSPECTED, State.OPEN):
            assert 0 < self.disk.next_in_s() <= max(TRY_MOST_S, ANSWER_S)

    def teardown(self) -> None:
        """Once its disk is well it is closed within a minute."""
        left_s = 60.0
        while self.disk.state is not State.CLOSED:
            if self.waiting_for_answer:
                self.disk.answer(None)
            else:
                left_s -= self.disk.next_in_s()
                self.disk.pass_time(self.disk.next_in_s())
        assert left_s >= 0


TestAnyDisk = AnyDisk.TestCase
TestAnyDisk.settings = settings(max_examples=60, stateful_step_count=40)
