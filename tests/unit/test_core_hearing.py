"""When a watch counts as deaf: proofs that went unheard, never silence alone and never one lost in a crowd."""

from __future__ import annotations

from imgoptd.core.hearing import (
    AT_ONCE_S,
    EVERY_MOST_S,
    EVERY_S,
    PATIENCE_S,
    PROOFS,
    PROOFS_BUSY,
    Hearing,
    Wish,
    trusted_again,
)


def unheard(hearing: Hearing, now_s: float) -> tuple[int, float]:
    """Make every proof that is wished for and let none be heard: how many until it counts as deaf, and when."""
    proofs = 0
    while (wish := hearing.wish(now_s)) is not Wish.DEAF:
        if wish is Wish.PROOF:
            hearing.asked(now_s)
            proofs += 1
        now_s += 0.5
    return proofs, now_s


def test_a_new_watch_is_to_be_proved_at_once() -> None:
    assert Hearing(10.0).wish(10.0) is Wish.PROOF


def test_a_watch_whose_proofs_go_unheard_is_deaf_and_not_after_the_first() -> None:
    proofs, deaf_s = unheard(Hearing(0.0), 0.0)
    assert (proofs, deaf_s) == (PROOFS, PROOFS * PATIENCE_S)


def test_while_other_events_arrive_more_proofs_are_asked_for() -> None:
    hearing = Hearing(0.0)
    hearing.asked(0.0)
    hearing.stirred()
    assert unheard(hearing, 0.0)[0] == PROOFS_BUSY - 1


def test_events_of_long_ago_excuse_no_unheard_proof() -> None:
    hearing = Hearing(0.0)
    hearing.stirred()
    assert unheard(hearing, 0.0)[0] == PROOFS


def test_a_proof_that_is_heard_late_counts() -> None:
    hearing = Hearing(0.0)
    hearing.asked(0.0)
    hearing.asked(PATIENCE_S)
    hearing.heard(PATIENCE_S + 1)
    assert hearing.wish(PATIENCE_S * 3) is Wish.NOTHING


def test_good_proofs_grow_rarer_down_to_a_bound_and_doubt_brings_the_next_forward() -> None:
    hearing, now_s, waits = Hearing(0.0), 0.0, []
    for _ in range(8):
        hearing.asked(now_s)
        hearing.heard(now_s)
        waits.append(hearing.due_s - now_s)
        now_s = hearing.due_s
    assert waits[:2] == [EVERY_S, 2 * EVERY_S]
    assert waits[-1] == EVERY_MOST_S
    hearing.asked(now_s)
    hearing.heard(now_s)
    assert hearing.wish(now_s + 1) is Wish.NOTHING
    hearing.doubt(now_s + 1)
    assert hearing.wish(now_s + 1) is Wish.PROOF


def test_a_proof_that_could_not_be_made_tells_nothing() -> None:
    hearing = Hearing(0.0)
    hearing.asked(0.0)
    hearing.unasked(0.0)
    assert hearing.wish(PATIENCE_S * 5) is Wish.NOTHING
    assert hearing.wish(EVERY_S) is Wish.PROOF


def test_where_no_proof_can_be_had_none_is_wished_for() -> None:
    hearing = Hearing(0.0, silenced="it may not be written")
    assert hearing.wish(1e6) is Wish.NOTHING


def test_a_watch_that_goes_deaf_again_soon_is_not_trusted_again() -> None:
    assert trusted_again(None, 0.0)
    assert not trusted_again(0.0, AT_ONCE_S)
    assert trusted_again(0.0, AT_ONCE_S + 1)
