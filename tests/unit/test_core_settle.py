"""When a file counts as complete."""

from __future__ import annotations

from itertools import pairwise

import pytest

from imgoptd.core.model import FileKind, FileRef, HintKind, Identity, Lease, Look
from imgoptd.core.settle import BUSY_RETRY_MAX_S, RESTLESS_S, Settler

REF = FileRef(b"/srv", b"a.jpg")
FIRST, SECOND = Identity(1, 2, 3, 4), Identity(1, 2, 30, 40)


def seen(
    identity: Identity = FIRST,
    lease: Lease = Lease.GRANTED,
    *,
    close_is_whole: bool = True,
    ends_whole: bool = True,
) -> Look:
    return Look(FileKind.REGULAR, identity, lease=lease, close_is_whole=close_is_whole, ends_whole=ends_whole)


def hinted(kind: HintKind, now_s: float = 0.0, settle_s: float = 1.0, *, quiet: bool = False) -> Settler:
    settler = Settler()
    settler.hint(REF, kind, settle_s, now_s, quiet=quiet)
    assert settler.due(now_s) == [REF]
    return settler


@pytest.mark.parametrize("kind", [HintKind.CLOSED, HintKind.MOVED])
def test_a_file_closed_or_moved_in_is_complete_at_once_with_a_lease_granted(kind: HintKind) -> None:
    assert hinted(kind).looked(REF, seen(), 0.0)


@pytest.mark.parametrize("kind", [HintKind.CREATED, HintKind.ARRIVED, HintKind.FOUND])
def test_a_file_that_was_only_seen_must_be_quiet_for_settle(kind: HintKind) -> None:
    settler = hinted(kind)
    assert not settler.looked(REF, seen(), 0.0)
    assert settler.next_due_s() == 1.0
    assert settler.due(0.9) == []
    assert settler.due(1.0) == [REF]
    assert settler.looked(REF, seen(), 1.0)


@pytest.mark.parametrize("settle_s", [0.1, 0.7, 1.1, 2.3])
@pytest.mark.parametrize("now_s", [0.1, 1e3 + 0.1, 1e6 + 0.7, 3.3e7 + 0.9])
def test_the_look_at_the_end_of_settle_is_the_last_whatever_the_clock_rounds(settle_s: float, now_s: float) -> None:
    settler = hinted(HintKind.CREATED, now_s, settle_s)
    settler.looked(REF, seen(), now_s)
    due_s = settler.next_due_s()
    assert due_s is not None
    settler.due(due_s)
    assert settler.looked(REF, seen(), due_s)


def test_a_change_begins_settle_anew() -> None:
    settler = hinted(HintKind.CREATED)
    settler.looked(REF, seen(FIRST), 0.0)
    settler.due(1.0)
    assert not settler.looked(REF, seen(SECOND), 1.0)
    assert settler.next_due_s() == 2.0
    settler.due(2.0)
    assert settler.looked(REF, seen(SECOND), 2.0)


@pytest.mark.parametrize(
    "look", [seen(lease=Lease.UNAVAILABLE), seen(close_is_whole=False)], ids=["no lease", "no word of closes"]
)
def test_where_the_filesystem_tells_too_little_a_close_needs_quiet_too(look: Look) -> None:
    settler = hinted(HintKind.CLOSED)
    assert not settler.looked(REF, look, 0.0)
    settler.due(1.0)
    assert settler.looked(REF, look, 1.0)


def test_a_file_closed_before_its_end_is_there_waits_for_quiet() -> None:
    settler = hinted(HintKind.CLOSED)
    assert settler.asks_for_end(REF)
    assert not settler.looked(REF, seen(ends_whole=False), 0.0)
    settler.due(1.0)
    assert settler.looked(REF, seen(ends_whole=False), 1.0), "whatever it is, it is quiet"


def test_a_file_moved_into_place_is_complete_whatever_it_ends_with() -> None:
    settler = hinted(HintKind.MOVED)
    assert not settler.asks_for_end(REF)
    assert settler.looked(REF, seen(ends_whole=False), 0.0)


def test_a_file_moved_into_place_and_written_to_again_is_judged_by_its_end() -> None:
    settler = Settler()
    settler.hint(REF, HintKind.MOVED, 1.0, 0.0)
    settler.hint(REF, HintKind.CLOSED, 1.0, 5.0)
    settler.due(5.0)
    assert not settler.looked(REF, seen(ends_whole=False), 5.0)


def test_a_file_closed_again_within_settle_has_a_writer_that_works_in_pieces_and_waits_for_quiet() -> None:
    settler = hinted(HintKind.CLOSED)
    settler.hint(REF, HintKind.CLOSED, 1.0, 0.4)
    assert settler.overtaken(REF, seen(), 0.5)
    settler.due(1.5)
    assert settler.looked(REF, seen(), 1.5)


def test_a_hint_during_the_look_makes_that_look_worthless() -> None:
    settler = hinted(HintKind.CREATED)
    settler.hint(REF, HintKind.CLOSED, 1.0, 0.1)
    assert settler.due(0.1) == [], "a look is under way"
    assert settler.overtaken(REF, seen(), 0.2)
    assert settler.due(0.2) == [REF]
    assert not settler.overtaken(REF, seen(), 0.2)
    assert settler.looked(REF, seen(), 0.2)


def test_a_file_held_open_for_writing_is_looked_at_less_and_less_often() -> None:
    settler, now_s, waits = hinted(HintKind.CLOSED), 0.0, []
    for _ in range(9):
        assert not settler.looked(REF, seen(lease=Lease.BUSY), now_s)
        due_s = settler.next_due_s()
        assert due_s is not None
        waits.append(due_s - now_s)
        now_s = due_s
        assert settler.due(now_s) == [REF]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_file_may_be_held_open_for_writing_for_days() -> None:
    settler, now_s = hinted(HintKind.CLOSED), 0.0
    for _ in range(2000):
        assert not settler.looked(REF, seen(lease=Lease.BUSY), now_s)
        now_s += BUSY_RETRY_MAX_S
        assert settler.due(now_s) == [REF]
    assert settler.looked(REF, seen(), now_s)


def test_a_hint_brings_the_next_look_of_a_busy_file_forward() -> None:
    settler, now_s = hinted(HintKind.CREATED), 0.0
    for _ in range(6):
        settler.looked(REF, seen(lease=Lease.BUSY), now_s)
        now_s = settler.next_due_s() or 0.0
        settler.due(now_s)
    settler.looked(REF, seen(lease=Lease.BUSY), now_s)
    settler.hint(REF, HintKind.CLOSED, 1.0, now_s + 1)
    assert settler.due(now_s + 1) == [REF]


def appended_to(settler: Settler, until_s: float, every_s: float = 0.4) -> list[float]:
    """When it is looked at while somebody opens it, appends and closes, again and again."""
    looks, now_s, number = [], 0.0, 0
    while now_s < until_s:
        now_s, number = now_s + every_s, number + 1
        settler.hint(REF, HintKind.CLOSED, 1.0, now_s)
        if settler.due(now_s):
            looks.append(now_s)
            assert not settler.looked(REF, seen(Identity(1, 2, number, number), ends_whole=False), now_s)
    return looks


def test_an_endless_appender_is_said_aloud_once_and_looked_at_less_and_less_often() -> None:
    settler = Settler()
    looks = [look_s for look_s in appended_to(settler, 1000.0) if look_s > RESTLESS_S]
    waits = [after - before for before, after in pairwise(looks)]
    assert waits[0] < 5 and waits == sorted(waits, key=round) and 59 < waits[-1] < 61
    assert [candidate.ref for candidate in settler.restless] == [REF]


def test_an_appender_that_ends_at_last_is_complete_after_quiet() -> None:
    settler = Settler()
    appended_to(settler, 1000.0)
    last = Identity(1, 2, 9999, 9999)
    due_s = settler.next_due_s()
    assert due_s is not None and due_s <= 1000.0 + BUSY_RETRY_MAX_S + 1
    settler.due(due_s)
    settler.looked(REF, seen(last), due_s)
    due_s = settler.next_due_s()
    assert due_s is not None and settler.due(due_s) == [REF] and settler.looked(REF, seen(last), due_s)


def test_a_file_held_open_for_long_is_said_aloud_and_looked_at_as_soon_as_it_is_closed() -> None:
    settler, now_s = hinted(HintKind.CREATED), 0.0
    while now_s < 300.0:
        settler.looked(REF, seen(lease=Lease.BUSY), now_s)
        now_s = settler.next_due_s() or 0.0
        settler.due(now_s)
    settler.looked(REF, seen(lease=Lease.BUSY), now_s)
    assert [candidate.ref for candidate in settler.restless] == [REF]
    settler.hint(REF, HintKind.CLOSED, 1.0, now_s + 3)
    assert settler.due(now_s + 3) == [REF]


def test_a_long_settle_is_no_restlessness() -> None:
    settler = hinted(HintKind.CREATED, settle_s=3600.0)
    settler.looked(REF, seen(), 0.0)
    settler.hint(REF, HintKind.CLOSED, 3600.0, 1800.0)
    settler.due(1800.0)
    settler.looked(REF, seen(SECOND, ends_whole=False), 1800.0)
    assert settler.restless == []


def test_asked_for_quiet_even_a_close_waits() -> None:
    settler = hinted(HintKind.CLOSED, quiet=True)
    assert not settler.looked(REF, seen(), 0.0)
    assert settler.next_due_s() == 1.0


def test_files_taken_at_once_are_remembered_no_longer_than_settle_whatever_others_ask_for() -> None:
    settler = Settler()
    for number in range(50):
        ref = FileRef(b"/srv", b"%d.jpg" % number)
        settle_s = 86400.0 if number < 8 else 1.0
        now_s = float(number * 10)
        settler.hint(ref, HintKind.CLOSED, settle_s, now_s)
        assert settler.due(now_s) == [ref] and settler.looked(ref, seen(), now_s)
        settler.drop(ref)
    assert len(settler._recent) == len(settler._recent_ends) == 9


def test_a_dropped_candidate_is_never_due_again() -> None:
    settler = Settler()
    settler.hint(REF, HintKind.CREATED, 1.0, 0.0)
    settler.drop(REF)
    assert settler.due(100.0) == []
    assert settler.next_due_s() is None


def test_what_a_rescan_found_is_no_fresh_drop_and_what_somebody_touched_is_one() -> None:
    settler = Settler()
    settler.hint(REF, HintKind.FOUND, 1.0, 0.0)
    candidate = settler.candidates[REF]
    assert (candidate.live, candidate.fresh) == (False, False)
    settler.hint(REF, HintKind.ARRIVED, 1.0, 0.0)
    assert (candidate.live, candidate.fresh) == (False, True)
    settler.hint(REF, HintKind.CREATED, 1.0, 0.0)
    assert (candidate.live, candidate.fresh) == (True, True)


@pytest.mark.parametrize(("again_s", "at_once"), [(0.9, False), (1.1, True)])
def test_a_file_taken_for_complete_and_written_again_within_settle_waits_for_quiet(
    again_s: float, at_once: bool
) -> None:
    settler = hinted(HintKind.CLOSED)
    assert settler.looked(REF, seen(FIRST), 0.0)
    settler.drop(REF)
    settler.hint(REF, HintKind.CLOSED, 1.0, again_s)
    settler.due(again_s)
    assert settler.looked(REF, seen(SECOND), again_s) is at_once
    if not at_once:
        settler.due(again_s + 1.0)
        assert settler.looked(REF, seen(SECOND), again_s + 1.0)
