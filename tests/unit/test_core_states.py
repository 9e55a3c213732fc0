"""Which states follow which, what a failure leads to, how a move is told, and what a restart makes of an intent."""

from __future__ import annotations

import itertools

import pytest

from imgoptd.core import commands as c
from imgoptd.core import retry, states
from imgoptd.core.model import (
    FINAL_STATES,
    Failure,
    FailureKind,
    FileRecord,
    FileRef,
    Identity,
    Intent,
    JobState,
    Receipt,
)
from imgoptd.core.recovery import records_after
from imgoptd.core.retry import FIRST_DELAY_S, LONGEST_DELAY_S, Next
from imgoptd.core.story import Story
from imgoptd.core.turn import Turn

REF = FileRef(b"/srv", b"a\n.jpg")
BEFORE, AFTER = Identity(1, 10, 1000, 5), Identity(1, 11, 600, 5)


def a_record(state: JobState) -> FileRecord:
    return FileRecord(REF, BEFORE, state)


def failure(kind: FailureKind) -> Failure:
    return Failure(kind, "reason", "a sentence")


# ---- the table ------------------------------------------------------------------------------------------------------


def test_every_state_stands_in_the_table_and_every_state_can_be_left() -> None:
    assert set(states.TRANSITIONS) == set(JobState)
    assert all(states.TRANSITIONS.values())


def test_a_final_state_is_left_by_a_new_look_alone() -> None:
    for state in FINAL_STATES:
        assert states.TRANSITIONS[state] == {JobState.SETTLING}


def test_a_move_that_is_not_in_the_table_raises_and_saves_nothing() -> None:
    for old, new in itertools.product(JobState, JobState):
        turn = Turn(0.0)
        if new in states.TRANSITIONS[old]:
            assert Story().move(turn, a_record(old), new).state is new
        else:
            with pytest.raises(states.IllegalTransition, match=f"{old} -> {new}"):
                Story().move(turn, a_record(old), new)
            assert turn.commands == []


# ---- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (FailureKind.REJECTED, JobState.SKIPPED),
        (FailureKind.CORRUPT, JobState.QUARANTINED),
        (FailureKind.UNVERIFIED, JobState.QUARANTINED),
        (FailureKind.CHANGED, JobState.SETTLING),
    ],
)
def test_what_no_second_try_can_change_is_decided_at_once(kind: FailureKind, state: JobState) -> None:
    assert retry.after(failure(kind), 0, 0) == Next(state)


def test_the_surroundings_failing_defers_longer_each_time_up_to_an_hour_and_never_blames_the_file() -> None:
    delays = [retry.after(failure(FailureKind.TRANSIENT), 0, times) for times in range(12)]
    assert [one.delay_s for one in delays[:4]] == [FIRST_DELAY_S, 10.0, 20.0, 40.0]
    assert delays[-1].delay_s == LONGEST_DELAY_S
    assert all(one.state is JobState.DEFERRED and not one.blame for one in delays)
    assert retry.after(failure(FailureKind.TRANSIENT), 0, 10**9).delay_s == LONGEST_DELAY_S


def test_few_files_that_cannot_be_opened_are_looked_at_again_within_a_minute_and_many_less_often() -> None:
    unreadable = Failure(FailureKind.TRANSIENT, "unreadable", "")
    delays = [retry.after(unreadable, 0, times, waiting=199).delay_s for times in (0, 1, 2, 3, 4, 10**9)]
    assert delays == [FIRST_DELAY_S, 10.0, 20.0, 40.0, 40.0, 40.0]
    for waiting in (200, 1_000, 10_000, 1_000_000):
        delay_s = retry.after(unreadable, 0, 100, waiting).delay_s
        assert 40.0 < delay_s <= LONGEST_DELAY_S
        assert waiting / delay_s <= 10 or delay_s == LONGEST_DELAY_S, "looks in a second"


@pytest.mark.parametrize(
    ("reason", "doubled", "solo"),
    [
        ("oom-killed", True, True),
        ("memory", True, False),
        ("worker-crashed", True, False),
        ("worker-exited", True, False),
        ("worker-killed", True, False),
        ("timeout", False, False),
        ("worker-lied", False, False),
    ],
)
def test_a_file_that_costs_its_worker_runs_once_more_beside_others_where_that_is_safe_then_never_again(
    reason: str, doubled: bool, solo: bool
) -> None:
    costly = Failure(FailureKind.EXHAUSTED, reason, "it was costly")
    assert retry.after(costly, 0, 0) == Next(JobState.QUEUED, blame=True, doubled=doubled, solo=solo)
    assert retry.after(costly, 1, 0) == Next(JobState.QUARANTINED, blame=True)


def test_a_file_that_was_only_refused_more_memory_has_a_third_attempt_while_there_is_more_to_give() -> None:
    refused = Failure(FailureKind.EXHAUSTED, "memory", "the memory given was not enough")
    again, never = Next(JobState.QUEUED, blame=True, doubled=True), Next(JobState.QUARANTINED, blame=True)
    assert [retry.after(refused, blamed, 0, had_all=False) for blamed in range(3)] == [again, again, never]
    assert retry.after(refused, 1, 0, had_all=True) == never
    crashed = Failure(FailureKind.EXHAUSTED, "worker-crashed", "killed by SIGSEGV")
    assert retry.after(crashed, 1, 0, had_all=False) == never


# ---- telling --------------------------------------------------------------------------------------------------------


def test_a_move_is_saved_told_and_counted() -> None:
    story, turn = Story(), Turn(0.0)
    moved = story.move(turn, a_record(JobState.ACTIVE), JobState.SKIPPED, "not-smaller", "nothing is smaller")
    assert turn.commands == [c.SaveFile(moved), c.AppendStep(REF, "skipped", "not-smaller: nothing is smaller")]
    assert story.counts == {"skipped": 1}


def test_settling_keeps_the_stored_row_an_unfinished_one_and_active_is_no_step_of_the_story() -> None:
    story, turn = Story(), Turn(0.0)
    story.move(turn, a_record(JobState.ACTIVE), JobState.SETTLING, text="looked at again")
    active = story.move(turn, a_record(JobState.QUEUED), JobState.ACTIVE)
    assert turn.commands == [c.AppendStep(REF, "settling", "looked at again"), c.SaveFile(active)]
    assert story.counts == {}


def test_what_is_announced_is_one_line_whatever_the_name() -> None:
    story, turn = Story(), Turn(0.0)
    story.announce(turn, a_record(JobState.QUARANTINED))
    (announced,) = turn.commands
    assert isinstance(announced, c.Announce)
    assert "\n" not in announced.message
    assert dict(announced.fields)["PATH"] == "/srv/a\\n.jpg"
    assert (announced.event, announced.priority) == ("quarantine", 4)


# ---- recovery -------------------------------------------------------------------------------------------------------


def test_a_replace_that_was_finished_gets_its_receipt_at_the_next_start() -> None:
    intent = Intent(REF, b".tmp", BEFORE, AFTER, "after", "before")
    known = a_record(JobState.ACTIVE)
    step, receipt, saved, drop = records_after(intent, known, True, AFTER, "finished", "archive")
    assert step == c.AppendStep(REF, "recovered", "finished")
    assert receipt == c.SaveReceipt(Receipt(REF, "before", "after", 1000, 600, "archive"))
    assert isinstance(saved, c.SaveFile)
    assert (saved.record.state, saved.record.identity, saved.record.sha256) == (JobState.DONE, AFTER, "after")
    assert drop == c.DropIntent(REF)


@pytest.mark.parametrize(("finished", "identity"), [(False, BEFORE), (False, None), (True, None)])
def test_a_replace_that_was_not_finished_leaves_the_row_an_unfinished_one(
    finished: bool, identity: Identity | None
) -> None:
    intent = Intent(REF, b".tmp", BEFORE, AFTER, "after", "before")
    records = records_after(intent, a_record(JobState.ACTIVE), finished, identity, "undone", "archive")
    assert records == [c.AppendStep(REF, "recovered", "undone"), c.DropIntent(REF)]
