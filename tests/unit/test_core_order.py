"""The backlog against a naive one, who comes when, and that nobody waits for ever."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgoptd.core.backlog import Backlog
from imgoptd.core.estimate import Estimate
from imgoptd.core.job import Job, Stage
from imgoptd.core.line import BULK_IN, OLDEST_IN
from imgoptd.core.model import Domain, FileRecord, FileRef, Identity, JobSettings, JobState
from imgoptd.core.ranking import AGE_S, CLAIM_STARTS, PASSES

MIB = 1 << 20
DOMAINS = [Domain(root, uid) for root in (b"/a", b"/b") for uid in (1, 2)]
STAGES = (Stage.UNPROBED, Stage.READY)


def waiting(
    seq: int,
    domain: Domain = DOMAINS[0],
    *,
    fresh: bool = False,
    priority: int = 5,
    cpu_s: float = 1.0,
    stage: Stage = Stage.READY,
    memory: int = MIB,
    dev: int = 1,
) -> Job:
    ref = FileRef(domain.root, b"%d" % seq)
    record = FileRecord(ref, Identity(dev, seq, 10 + seq, 1), JobState.QUEUED, uid=domain.uid, fresh=fresh)
    return Job(record, domain, priority, JobSettings(), seq, 0.0, stage, estimate=Estimate(memory, cpu_s))


def filled(*jobs: Job) -> Backlog:
    backlog = Backlog()
    for job in jobs:
        backlog.add(job)
    return backlog


def give(backlog: Backlog, domain: Domain, now_s: float = 0.0) -> Job:
    job = backlog.next_ready(domain)
    assert job is not None
    backlog.give_out(job, now_s)
    return job


# ---- the same as a naive one ----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.data())
def test_a_backlog_knows_of_every_job_once_whatever_comes_goes_is_shut_and_opened(data: st.DataObject) -> None:
    backlog = Backlog()
    naive: list[Job] = []
    gone: list[Job] = []
    for seq in range(data.draw(st.integers(1, 25))):
        match data.draw(
            st.sampled_from(["add", "add", "add", "remove", "give", "return", "shut", "open", "lose", "find"])
        ):
            case "add":
                job = waiting(
                    seq,
                    data.draw(st.sampled_from(DOMAINS)),
                    fresh=data.draw(st.booleans()),
                    priority=data.draw(st.integers(0, 2)),
                    cpu_s=data.draw(st.sampled_from([0.1, 0.5, 3.0])),
                    stage=data.draw(st.sampled_from(STAGES)),
                    memory=data.draw(st.integers(1, 1 << 34)),
                    dev=data.draw(st.integers(1, 2)),
                )
                backlog.add(job)
                naive.append(job)
            case "remove" if naive:
                job = naive.pop(data.draw(st.integers(0, len(naive) - 1)))
                # What is known of it may have changed meanwhile, and must not confuse the accounts.
                job.estimate = Estimate(7, 7.0)
                backlog.remove(job)
                gone.append(job)
            case "give":
                domain = data.draw(st.sampled_from(DOMAINS))
                head = backlog.next_ready(domain)
                open_ones = [one for one in naive if one.domain == domain and not backlog.is_shut(one.place)]
                assert (head is None) == (not any(one.stage is Stage.READY for one in open_ones))
                if head is not None:
                    assert head in open_ones
                    backlog.give_out(head, float(seq))
                    naive.remove(head)
            case "return" if gone:
                naive.append(gone.pop())
                backlog.add(naive[-1])
            case "shut" | "open" as verb:
                place = waiting(0, data.draw(st.sampled_from(DOMAINS)), dev=data.draw(st.integers(1, 2))).place
                getattr(backlog, verb)(place)
            case "lose":
                backlog.shut_folder(b"/a")
            case "find":
                backlog.open_folder(b"/a")
        _compare(backlog, naive)


def _compare(backlog: Backlog, naive: list[Job]) -> None:
    seen = [job for job in naive if not backlog.is_shut(job.place)]
    ready = [job for job in seen if job.stage is Stage.READY]
    unprobed = [job for job in seen if job.stage is Stage.UNPROBED]
    assert list(backlog.upcoming()) == sorted(seen, key=lambda job: job.order)
    assert set(backlog.kept_back()) == set(naive) - set(seen)
    assert (backlog.jobs, backlog.jobs_kept_back) == (len(seen), len(naive) - len(seen))
    assert backlog.bytes == sum(job.record.identity.size for job in seen)
    assert abs(backlog.ready_cpu_s - sum(job.estimate.cpu_s for job in ready)) < 1e-6
    assert backlog.unprobed == (len(unprobed), sum(job.record.identity.size for job in unprobed))
    assert set(backlog.domains()) == {job.domain for job in seen}
    assert backlog.jobs_below(b"/a") == sum(job.domain.root == b"/a" for job in naive)
    for domain in DOMAINS:
        mine = [job for job in seen if job.domain == domain]
        assert backlog.jobs_of(domain) == len(mine)
        assert backlog.urgency(domain) == min((job.urgency for job in mine), default=None)
        fits = backlog.backfill(domain, lambda job: True)
        assert (fits is None) == (not any(job.stage is Stage.READY for job in mine))
    foremost = backlog.foremost()
    assert (foremost is None) == (not seen)
    if foremost is not None:
        fresh = [job for job in seen if job.record.fresh]
        assert not fresh or any(job.domain == foremost for job in fresh)


# ---- within a domain ------------------------------------------------------------------------------------------------


def test_every_eighth_bulk_job_is_the_one_that_waits_longest() -> None:
    backlog = filled(*(waiting(seq, cpu_s=float(seq)) for seq in range(1, 40)))
    order = [give(backlog, DOMAINS[0]).seq for _ in range(2 * OLDEST_IN)]
    assert order == [39, 38, 37, 36, 35, 34, 33, 1, 32, 31, 30, 29, 28, 27, 26, 2]


def test_every_eighth_job_is_bulk_while_fresh_drops_come() -> None:
    backlog = filled(*(waiting(seq, fresh=seq > 3) for seq in range(1, 60)))
    kinds = [give(backlog, DOMAINS[0]).record.fresh for _ in range(2 * BULK_IN)]
    assert kinds == [*[True] * 7, False] * 2


def test_bulk_files_are_probed_though_fresh_drops_come_without_end() -> None:
    backlog = filled(*(waiting(seq, fresh=seq > 1, stage=Stage.UNPROBED) for seq in range(1, 40)))
    for _ in range(BULK_IN - 1):
        job = backlog.next_probe(DOMAINS[0])
        assert job is not None and job.record.fresh
        backlog.give_out(job, 0.0)
    job = backlog.next_probe(DOMAINS[0])
    assert job is not None and not job.record.fresh


@settings(max_examples=25)
@given(st.integers(0, 9), st.floats(0.01, 50.0), st.booleans(), st.integers(0, 2**32))
def test_every_job_is_given_out_within_a_bounded_number_of_starts_whatever_comes_after_it(
    priority: int, cpu_s: float, fresh: bool, seed: int
) -> None:
    dice = random.Random(seed)
    before = [waiting(seq, cpu_s=9.0) for seq in range(3)]
    lone = waiting(3, fresh=fresh, priority=priority, cpu_s=cpu_s)
    backlog = filled(*before, lone)
    for seq in range(4, 4 + OLDEST_IN * BULK_IN * (len(before) + 1)):
        backlog.add(waiting(seq, fresh=not fresh or dice.random() < 0.9, priority=0, cpu_s=dice.uniform(1.0, 99.0)))
        if give(backlog, DOMAINS[0]) is lone:
            return
    raise AssertionError("it waits for ever")


# ---- between domains ------------------------------------------------------------------------------------------------


def serve(backlog: Backlog, now_s: float) -> Job:
    """As one worker that may change its domain at any time would."""
    domain = backlog.foremost()
    assert domain is not None
    return give(backlog, domain, now_s)


def test_folders_of_one_priority_share_by_cpu_seconds_and_not_by_jobs_or_owners() -> None:
    many = [waiting(seq, DOMAINS[seq % 2], cpu_s=0.5) for seq in range(2000)]  # two owners in /a
    few = [waiting(2000 + seq, DOMAINS[2], cpu_s=5.0) for seq in range(200)]  # one in /b
    backlog, received = filled(*many, *few), {b"/a": 0.0, b"/b": 0.0}
    for _ in range(600):
        job = serve(backlog, 0.0)
        received[job.domain.root] += job.estimate.cpu_s
    assert abs(received[b"/a"] - received[b"/b"]) < 20.0
    assert min(received.values()) > 200.0


def test_who_comes_late_asks_for_no_arrears() -> None:
    backlog = filled(*(waiting(seq, DOMAINS[0]) for seq in range(300)))
    for _ in range(200):
        serve(backlog, 0.0)
    for seq in range(300, 400):
        backlog.add(waiting(seq, DOMAINS[2]))
    next_ones = [serve(backlog, 0.0).domain for _ in range(20)]
    assert next_ones.count(DOMAINS[2]) == 10


def test_each_step_of_priority_is_worth_a_minute_of_waiting() -> None:
    backlog = filled(waiting(0, DOMAINS[2], priority=7), *(waiting(seq, priority=5) for seq in range(1, 999)))
    seconds = 0
    while serve(backlog, float(seconds)).domain != DOMAINS[2]:
        seconds += 1
    assert 2 * AGE_S - 1 <= seconds <= 3 * AGE_S


def test_bulk_of_another_domain_gets_its_eighth_in_one_go_while_fresh_drops_come() -> None:
    fresh = [waiting(seq, DOMAINS[0], fresh=True) for seq in range(500)]
    bulk = [waiting(500 + seq, DOMAINS[2]) for seq in range(100)]
    backlog = filled(*fresh, *bulk)
    served: Domain | None = None
    order = []
    for _ in range(2 * (PASSES + CLAIM_STARTS)):
        own = backlog.rank(served, 0.0, served=True) if served is not None else None
        other = backlog.foremost([served] if served is not None else ())
        theirs = backlog.rank(other, 0.0, served=False) if other is not None else None
        if other is not None and theirs is not None and (own is None or theirs[:2] < own[:2]):
            served = other
        assert served is not None
        order.append(give(backlog, served).record.fresh)
    changes = sum(one != other for one, other in pairwise(order))
    assert (order.count(False), changes) == (2 * CLAIM_STARTS, 3)


def test_a_job_that_waits_already_is_not_added_twice() -> None:
    job = waiting(1)
    backlog = filled(job)
    with pytest.raises(ValueError, match="waits already"):
        backlog.add(job)
