"""The life of a job: probe, work, replace, and what follows when something goes wrong."""

from __future__ import annotations

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import Failure, FailureKind, FileRef, HintKind, JobState, Outcome, Receipt, Verdict
from tests.unit.disk import Content
from tests.unit.world import ROOT, World

A = FileRef(ROOT, b"a.jpg")
PHOTO = Content("photo")


def ended(kind: str) -> World:
    world = World()
    world.drop(A, Content(kind))
    world.run()
    return world


def steps(world: World) -> list[str]:
    return [step for step, _ in world.store.steps[A]]


def test_a_photo_goes_the_whole_way_and_every_step_is_told() -> None:
    world = ended("photo")
    assert world.state(A) == (JobState.DONE, "optimized")
    assert steps(world) == ["queued", "probed", "done"]
    record = world.store.files[A]
    assert (record.bytes_before, record.bytes_after) == (1_000_000, 500_000)
    assert (record.identity, record.sha256) == (world.disk.files[A].identity, PHOTO.optimized().sha256)
    assert world.store.receipts == [Receipt(A, PHOTO.sha256, PHOTO.optimized().sha256, 1_000_000, 500_000, "archive")]
    assert world.store.intents == {}
    assert world.engine.story.counts == {"done": 1, "bytes_before": 1_000_000, "bytes_after": 500_000}


@pytest.mark.parametrize(
    ("kind", "state", "reason", "given_out"),
    [
        ("tight", JobState.SKIPPED, "not-smaller", 1),
        ("text", JobState.SKIPPED, "not-an-image", 0),
        ("corrupt", JobState.QUARANTINED, "truncated", 0),
        ("wrong", JobState.QUARANTINED, "pixels", 1),
        ("greedy", JobState.QUARANTINED, "memory", 3),
        ("deadly", JobState.QUARANTINED, "worker-crashed", 2),
        ("deadly-to-probe", JobState.QUARANTINED, "worker-crashed", 0),
        ("endless", JobState.QUARANTINED, "timeout", 2),
        ("huge", JobState.HELD, "needs-memory", 0),
    ],
)
def test_how_each_kind_of_file_ends_and_how_often_it_is_worked_on(
    kind: str, state: JobState, reason: str, given_out: int
) -> None:
    world = ended(kind)
    assert world.state(A) == (state, reason)
    assert len(world.asked(c.SendJob)) == given_out
    assert world.disk.files[A].content == Content(kind), "the file is as it was"
    assert world.store.files[A].detail
    assert world.open == {}


def test_a_result_that_is_not_smaller_is_dropped_whatever_the_worker_calls_it() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.answer(job := world.until(c.SendJob))
    world.workers[job.worker].tasks.clear()
    world.post(e.Finished(job.worker, A, Outcome(Verdict.OPTIMIZED, PHOTO.size)))
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "not-smaller")
    assert world.asked(c.Prepare) == []


def test_a_worker_that_failed_without_a_reason_is_not_believed() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.answer(job := world.until(c.SendJob))
    world.workers[job.worker].tasks.clear()
    world.post(e.Finished(job.worker, A, Outcome(Verdict.FAILED)))
    world.run()
    assert world.state(A) == (JobState.QUARANTINED, "no-reason")


def test_a_failed_attempt_is_remembered_over_a_crash_of_the_daemon() -> None:
    world = World()
    world.drop(A, Content("deadly"))
    world.answer(job := world.until(c.SendJob))
    world.work(job.worker)
    world.turn()
    assert (world.store.files[A].attempts, world.state(A)) == (1, (JobState.QUEUED, "worker-crashed"))
    world.crash()
    world.run()
    assert world.state(A) == (JobState.QUARANTINED, "worker-crashed")
    assert len(world.asked(c.SendJob)) == 2


def test_a_lost_probe_is_told_and_remembered_over_a_crash_of_the_daemon() -> None:
    world = World()
    world.drop(A, Content("deadly-to-probe"))
    world.answer(probe := world.until(c.SendProbe))
    world.work(probe.worker)
    world.turn()
    assert (world.store.files[A].attempts, world.state(A)) == (1, (JobState.QUEUED, "worker-crashed"))
    assert "tried once more, with twice the memory" in world.store.steps[A][-1][1]
    world.crash()
    world.run()
    assert len(world.asked(c.SendProbe)) == 2


def test_other_content_begins_without_blame() -> None:
    world = ended("deadly")
    world.overwrite(A, PHOTO)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert world.store.files[A].attempts == 0


def test_a_quarantined_file_is_left_alone_until_it_changes() -> None:
    world = ended("corrupt")
    world.scan(ROOT)
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert len(world.asked(c.SendProbe)) == 1


# ---- replacing ------------------------------------------------------------------------------------------------------


def test_the_intent_is_durable_before_the_exchange_and_gone_after_it() -> None:
    world = World()
    world.drop(A, PHOTO)
    exchange = world.until(c.Exchange)
    assert world.store.intents == {A: exchange.intent}
    assert exchange.intent.original == world.disk.files[A].identity
    assert (exchange.intent.original_sha256, exchange.intent.result_sha256) == (
        PHOTO.sha256,
        PHOTO.optimized().sha256,
    )
    world.answer(exchange)
    world.run()
    assert world.store.intents == {}


def test_a_result_that_had_to_be_copied_gets_a_second_intent_that_knows_its_inode() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.answer(world.until(c.Prepare), "copied")
    first = world.until(c.Exchange)
    assert first.intent.result is None
    world.answer(first)
    second = world.until(c.Exchange)
    assert second.intent.result is not None
    assert world.store.intents == {A: second.intent}
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize("step", [c.Prepare, c.Exchange])
def test_a_file_that_changes_under_way_is_looked_at_again_and_done_as_it_is_then(
    step: type[c.Prepare] | type[c.Exchange],
) -> None:
    world, newer = World(), Content("photo", 2)
    world.drop(A, PHOTO)
    world.until(step)
    world.overwrite(A, newer)
    world.run()
    assert world.disk.files[A].content == newer.optimized()
    assert [receipt.before_sha256 for receipt in world.store.receipts] == [newer.sha256]
    assert "settling" in steps(world)
    assert world.store.intents == {}


def test_a_change_while_it_was_worked_on_is_looked_at_even_after_the_replace_won() -> None:
    world, newer = World(), Content("photo", 2)
    world.drop(A, PHOTO)
    world.answer(world.until(c.Exchange))
    world.overwrite(A, newer)
    world.run()
    assert world.disk.files[A].content == newer.optimized()
    assert len(world.store.receipts) == 2


@pytest.mark.parametrize("step", [c.SendProbe, c.SendJob, c.Prepare, c.Exchange])
def test_trouble_of_the_surroundings_defers_longer_each_time_and_never_blames_the_file(
    step: type[c.SendProbe] | type[c.SendJob] | type[c.Prepare] | type[c.Exchange],
) -> None:
    world, delays = World(), []
    world.drop(A, PHOTO)
    for _ in range(4):
        world.answer(world.until(step), "fail")
        world.turn()
        assert world.store.files[A].state is JobState.DEFERRED
        due_s = world.engine.jobs.next_due_s()
        assert due_s is not None
        delays.append(due_s - world.now_s)
    assert delays == [5.0, 10.0, 20.0, 40.0]
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert world.store.files[A].attempts == 0


def test_success_forgives_so_the_next_deferral_is_short_again() -> None:
    world = World()
    for tag in (1, 2):
        world.drop(A, Content("photo", tag))
        world.answer(world.until(c.SendJob), "fail")
        world.turn()
        assert (world.engine.jobs.next_due_s() or 0.0) - world.now_s == 5.0
        world.run()
        assert world.state(A) == (JobState.DONE, "optimized")


def test_a_replace_that_left_names_in_disorder_keeps_its_intent_until_they_are_put_right() -> None:
    world = World()
    world.drop(A, PHOTO)
    exchange = world.until(c.Exchange)
    world.answer(exchange, "unfinished")
    world.turn()
    assert world.store.intents == {A: exchange.intent}
    world.run()
    assert world.store.intents == {}
    assert world.state(A) == (JobState.DONE, "optimized")
    assert len(world.store.receipts) == 1


@pytest.mark.parametrize("told", [True, False], ids=["exchanged", "not yet exchanged"])
def test_a_crash_around_the_exchange_ends_with_one_result_and_one_receipt(told: bool) -> None:
    world = World()
    world.drop(A, PHOTO)
    exchange = world.until(c.Exchange)
    if told:
        world.answer(exchange)
    world.crash()
    world.run()
    assert world.disk.files[A].content == PHOTO.optimized()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert (len(world.store.receipts), world.store.intents) == (1, {})


# ---- late and unasked answers ---------------------------------------------------------------------------------------


def test_answers_of_workers_that_have_nothing_to_do_with_the_file_change_nothing() -> None:
    world = World()
    world.drop(A, PHOTO)
    job = world.until(c.SendJob)
    before = world.store.files[A]
    failure = Failure(FailureKind.CORRUPT, "lie", "a lie")
    stranger = job.worker + 7
    for event in (
        e.Finished(stranger, A, Outcome(Verdict.FAILED, failure=failure)),
        e.Probed(stranger, A, None, failure),
        e.TaskRefused(stranger, A, failure),
        e.TaskStarted(stranger, A, "forged"),
        e.Recognised(stranger, A, "forged", True),
        e.Exchanged(A, before.identity),
        e.ReplaceFailed(A, failure),
        e.Prepared(A, b".tmp", before.identity, before.identity, "forged"),
        e.WorkerStarted(stranger, 1, 1),
        e.WorkerExited(stranger, -9),
    ):
        world.post(event)
    world.turn()
    assert world.store.files[A] == before
    world.run()
    assert [receipt.before_sha256 for receipt in world.store.receipts] == [PHOTO.sha256]


def test_what_a_worker_was_about_to_refuse_when_it_died_is_worked_on_by_the_next() -> None:
    world = World()
    world.drop(A, PHOTO)
    job = world.until(c.SendJob)
    world.end_worker(job.worker, -9)
    world.turn()
    world.answer(job)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert world.store.files[A].attempts == 0
