"""When what jobs taught is saved, what a refused or killed one teaches, and what a file's story tells of it."""

from __future__ import annotations

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.estimate import MIB, Estimate, Estimator
from imgoptd.core.learning import SAVE_S, Notebook, learn, show_effort, show_estimate
from imgoptd.core.model import Effort, Failure, FailureKind, Outcome, Verdict
from imgoptd.core.turn import Turn
from tests.unit.disk import Content
from tests.unit.dispatching import A, B
from tests.unit.estimating import probed, teach
from tests.unit.world import World


def saved(notebook: Notebook, now_s: float, *, ending: bool = False) -> list[c.SaveLearned]:
    turn = Turn(now_s)
    notebook.save(turn, ending=ending)
    return [one for one in turn.commands if isinstance(one, c.SaveLearned)]


# ---- saving ---------------------------------------------------------------------------------------------------------


def test_what_is_new_is_saved_once_a_minute_and_nothing_where_nothing_is() -> None:
    estimator = Estimator()
    notebook = Notebook(estimator)
    assert saved(notebook, 0.0) == []
    assert notebook.next_deadline_s() is None
    for second in range(50):
        teach(estimator, probed(), 1.0)
        assert saved(notebook, 100.0 + second) == []
    assert notebook.next_deadline_s() == 100.0 + SAVE_S
    [one] = saved(notebook, 100.0 + SAVE_S)
    assert one.lessons == estimator.lessons()
    assert saved(notebook, 1000.0) == []
    assert notebook.next_deadline_s() is None


def test_at_the_end_what_is_new_is_saved_at_once() -> None:
    estimator = Estimator()
    notebook = Notebook(estimator)
    notebook.restore(e.Learned("pyoxipng 9", ()))
    teach(estimator, probed(), 1.0)
    [one] = saved(notebook, 1.0, ending=True)
    assert one.codecs == "pyoxipng 9"
    assert saved(notebook, 2.0, ending=True) == []


def test_what_was_learned_before_is_no_news() -> None:
    estimator, later = Estimator(), Estimator()
    teach(estimator, probed(), 1.0)
    notebook = Notebook(later)
    notebook.restore(e.Learned("", estimator.lessons()))
    assert later.lessons() == estimator.lessons()
    assert saved(notebook, 1e6, ending=True) == []


def test_the_engine_saves_when_its_last_job_has_ended() -> None:
    world = World()
    world.drop(A, Content("photo"))
    world.run()
    assert world.store.learned == []
    world.post(e.DrainRequested())
    world.run(1.0)
    assert len(world.store.learned) == 1


def test_a_job_that_was_probed_early_is_given_what_was_learned_since() -> None:
    world = World(workers_max=1)
    for number, ref in enumerate((A, B)):
        world.drop(ref, Content("panorama", number))
    world.run()
    first, second = (job.memory_bytes for job in world.asked(c.SendJob))
    assert second < first


def test_a_worker_that_says_it_took_no_time_does_not_make_its_jobs_seem_short() -> None:
    world = World()
    world.drop(A, Content("panorama"))
    world.hanging.add(A)
    world.run(0.5)
    job = world.engine.jobs.by_ref[A]
    table_s = job.estimate.cpu_s
    (worker,) = world.engine.fleet.workers
    world.cpu_s[worker] = 4 * table_s
    world.run(0.5)
    for _ in range(30):
        learn(world.engine.jobs.estimator, job, Outcome(Verdict.OPTIMIZED, effort=Effort(0.001)), None)
    assert job.took == f"took {4 * table_s:.1f} CPU s"
    assert world.engine.jobs.estimator.estimate(job.record).cpu_s > 3 * table_s


# ---- jobs that did not get enough -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "killed"])
def test_a_job_for_which_memory_was_not_enough_teaches_that_it_needed_more(how: str) -> None:
    world = World()
    world.drop(A, Content("panorama"))
    world.answer(job := world.until(c.SendJob))
    if how == "refused":
        failure = Failure(FailureKind.EXHAUSTED, "memory", "the memory given was not enough")
        held = world.engine.jobs.by_ref[A]
        learn(world.engine.jobs.estimator, held, Outcome(Verdict.FAILED, failure=failure), None)
    else:
        world.end_worker(job.worker, -9, oom=True)
        world.turn()
    record = world.engine.jobs.by_ref[A].record
    assert world.engine.jobs.estimator.estimate(record).memory_bytes > job.memory_bytes


# ---- the story ------------------------------------------------------------------------------------------------------


def test_a_story_tells_what_a_job_was_expected_to_take_and_why() -> None:
    learned = Estimate(200 * MIB, 2.13, 150 * MIB, 120 * MIB, 64)
    assert show_estimate(learned) == "needs about 120 MiB and 2.1 CPU s (learned from 64 jobs)"
    once = Estimate(200 * MIB, 0.0213, 150 * MIB, 120 * MIB, 1)
    assert show_estimate(once) == "needs about 120 MiB and 0.021 CPU s (learned from 1 job)"
    assert show_estimate(Estimate(300 * MIB, 2.0, 300 * MIB, 120 * MIB)).endswith(
        "(by the table, nothing was learned yet)"
    )


def test_a_story_tells_what_a_job_took_as_far_as_it_is_known() -> None:
    assert show_effort(Effort(1.94, 2.0, 131 * MIB), 30 * MIB) == "took 101 MiB and 1.9 CPU s"
    assert show_effort(Effort(1.94, 2.0, 131 * MIB), None) == "took 1.9 CPU s"
    assert show_effort(Effort(0.0, 2.0, 20 * MIB), 30 * MIB) == ""


def test_each_end_of_a_job_that_a_worker_had_tells_what_it_took() -> None:
    world = World()
    world.drop(A, Content("photo"))
    world.drop(B, Content("tight"))
    world.run()
    ends = [world.store.steps[ref][-1] for ref in (A, B)]
    assert [step for step, _ in ends] == ["done", "skipped"]
    assert all("; took " in text and text.endswith(" MiB and 0.1 CPU s") for _, text in ends)
