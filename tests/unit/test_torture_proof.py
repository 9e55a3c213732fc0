"""What the torture takes for a proof that a file was read too early: each kind of sign is seen, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from tests.torture.proof import LAG_MS, Content, Life, Receipt, Step, Truth, judge, newest_or_its_result

WHOLE = Content.of(b"whole and sound" * 100)
PART = Content.of(b"whole and")
RESULT = Content.of(b"smaller" * 100)
MADE = Receipt(WHOLE.sha256, RESULT.sha256, WHOLE.size, RESULT.size)
COMPLETE = Step(5000, "queued", "complete, 1.46 KiB")
GOOD = Life("done", "optimized", RESULT.sha256, (COMPLETE, Step(5010, "done", "optimized: ...")), (MADE,))


def truth(begin: float = 0, end: float = 4900) -> Truth:
    return Truth([WHOLE], [(begin, end)])


def test_a_file_called_complete_after_its_writer_was_done_bears_no_sign() -> None:
    assert judge(GOOD, truth()) == []


def test_a_file_called_complete_before_its_writer_was_done_is_seen_by_the_time() -> None:
    assert judge(GOOD, truth(end=5200)) == ["called 'complete, 1.46 KiB' 200 ms before its writer was done"]


def test_a_step_written_down_shortly_after_the_file_was_opened_anew_may_be_of_the_decision_before_it() -> None:
    assert judge(GOOD, truth(begin=5000 - LAG_MS + 1, end=9000)) == []
    assert judge(GOOD, truth(begin=5000 - LAG_MS - 1, end=9000)) != []


def test_a_size_that_the_file_never_had_whole_is_a_sign() -> None:
    early = replace(GOOD, steps=(COMPLETE._replace(text="complete, 9 B"),))
    assert judge(early, truth()) == [
        "called 'complete, 9 B', but was never whole at that size (complete, 1.46 KiB, complete, 700 B)"
    ]


def test_the_size_of_our_own_result_is_none() -> None:
    again = replace(GOOD, steps=(COMPLETE, COMPLETE._replace(text="complete, 700 B")))
    assert judge(again, truth()) == []


def test_a_result_made_of_a_part_is_a_sign() -> None:
    assert (
        "made of a content"
        in judge(replace(GOOD, receipts=(MADE, MADE._replace(before_sha256=PART.sha256))), truth())[0]
    )


def test_a_row_that_speaks_of_a_part_is_a_sign() -> None:
    assert "its row speaks of a content" in judge(replace(GOOD, sha256=PART.sha256), truth())[0]


def test_a_sound_picture_that_was_called_damaged_or_empty_was_read_too_early() -> None:
    for step, text in (("quarantined", "truncated: the file ends early"), ("skipped", "empty: it holds nothing")):
        life = replace(GOOD, steps=(Step(4000, step, text), *GOOD.steps))
        assert judge(life, truth(end=0)) == [f"judged {step} ({text})"]
        assert judge(life, replace(truth(end=0), picture=False)) == []


def test_a_path_holds_the_newest_content_itself_or_what_was_made_of_it_by_any_number_of_receipts() -> None:
    second = Receipt(RESULT.sha256, Content.of(b"tiny").sha256, RESULT.size, 4)
    assert newest_or_its_result(b"whole and sound" * 100, Life("skipped", "", ""), WHOLE)
    assert newest_or_its_result(b"smaller" * 100, GOOD, WHOLE)
    assert newest_or_its_result(b"tiny", replace(GOOD, receipts=(MADE, second)), WHOLE)
    assert not newest_or_its_result(b"tiny", GOOD, WHOLE)
    assert not newest_or_its_result(b"smaller" * 100, GOOD, PART)
