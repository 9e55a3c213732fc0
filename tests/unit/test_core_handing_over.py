"""A task is the worker's only once it was handed over: what the daemon still opens for it is on nobody's account."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.estimate import MIB, Estimator
from imgoptd.core.model import (
    Effort,
    FileKind,
    FileRecord,
    FileRef,
    HintKind,
    Identity,
    ImageFacts,
    JobState,
    Lease,
    Look,
)
from imgoptd.core.policy import FolderPolicy

ROOT = b"/srv"
FIRST, SECOND = FileRef(ROOT, b"a.jpg"), FileRef(ROOT, b"b.jpg")
TIMEOUT_S = 10.0


class Driven:
    """An engine with one worker of one folder; commands of the last call in `said`."""

    def __init__(self, *, patient: bool = True) -> None:
        self.engine = Engine()
        self.said: list[c.Command] = []
        self.saved: dict[FileRef, JobState] = {}
        folder = FolderPolicy(ROOT, settle_s=0.0, optimize_existing=True)
        self.at(0.0, e.Sensed(available_bytes=4 << 30, limit_bytes=8 << 30, cpus=1))
        self.at(0.0, e.Configured(1, (folder,), 0, 1, TIMEOUT_S, patient=patient))

    def at(self, now_s: float, *events: e.Event) -> list[c.Command]:
        self.said = [command for event in events for command in self.engine.handle(event, now_s)]
        self.said += self.engine.end_turn(now_s)
        self.saved.update({one.record.ref: one.record.state for one in self.said if isinstance(one, c.SaveFile)})
        return self.said

    def found(self, now_s: float, ref: FileRef, inode: int) -> None:
        self.at(now_s, e.Hinted(ref, HintKind.FOUND))
        look = Look(FileKind.REGULAR, Identity(1, inode, 1000, 5), uid=0, mode=0o644, lease=Lease.GRANTED)
        self.at(now_s, e.Looked(ref, look, None))

    def up(self, now_s: float) -> int:
        (worker,) = self.engine.fleet.workers
        self.at(now_s, e.WorkerStarted(worker, 4000, 30 * MIB))
        return worker


def test_a_disk_that_hangs_while_a_file_is_opened_is_not_counted_against_the_file() -> None:
    driven = Driven()
    driven.found(0.0, FIRST, 1)
    worker = driven.up(0.0)
    assert [one.ref for one in driven.said if isinstance(one, c.SendProbe)] == [FIRST]
    assert not any(isinstance(one, c.KillWorker) for one in driven.at(TIMEOUT_S * 100, e.Tick()))
    driven.at(TIMEOUT_S * 100, e.TaskStarted(worker, FIRST))
    assert not any(isinstance(one, c.KillWorker) for one in driven.at(TIMEOUT_S * 101 - 0.1, e.Tick()))
    assert any(isinstance(one, c.KillWorker) for one in driven.at(TIMEOUT_S * 101, e.Tick()))


def test_of_two_tasks_the_one_handed_over_first_is_blamed_whatever_was_given_first() -> None:
    driven = Driven()
    driven.found(0.0, FIRST, 1)
    driven.found(0.0, SECOND, 2)
    worker = driven.up(0.0)
    assert [one.ref for one in driven.said if isinstance(one, c.SendProbe)] == [FIRST, SECOND]
    driven.at(0.1, e.TaskStarted(worker, SECOND), e.TaskStarted(worker, FIRST))
    driven.at(0.2, e.WorkerExited(worker, 1))
    attempts = {ref: job.record.attempts for ref, job in driven.engine.jobs.by_ref.items()}
    assert attempts == {FIRST: 0, SECOND: 1}


def test_a_worker_that_dies_before_anything_was_handed_over_costs_no_file_an_attempt() -> None:
    driven = Driven()
    driven.found(0.0, FIRST, 1)
    worker = driven.up(0.0)
    driven.at(0.1, e.WorkerExited(worker, -11))
    assert driven.engine.jobs.by_ref[FIRST].record.attempts == 0


def test_what_a_worker_says_of_itself_cannot_stop_the_work_of_others() -> None:
    estimator, facts = Estimator(), ImageFacts("jpeg", 1000, 1000)
    record = FileRecord(FIRST, Identity(1, 1, MIB, 1), JobState.QUEUED, facts=facts)
    before = estimator.estimate(record)
    for _ in range(20):
        estimator.learn(record, Effort(cpu_s=1e300, wall_s=1.0, peak_bytes=1 << 60), 30 * MIB)
    after = estimator.estimate(record)
    assert after.memory_bytes < 10 * before.memory_bytes
    assert after.cpu_s < 10 * before.cpu_s


def test_with_patience_a_file_kept_open_is_looked_at_for_ever_and_without_it_it_is_deferred() -> None:
    for patient in (True, False):
        driven = Driven(patient=patient)
        driven.at(0.0, e.Hinted(FIRST, HintKind.FOUND))
        busy = Look(FileKind.REGULAR, Identity(1, 1, 1000, 5), uid=0, mode=0o644, lease=Lease.BUSY)
        now_s = 0.0
        for _ in range(20):
            if not any(isinstance(one, c.LookAt) for one in driven.said):
                break
            driven.at(now_s, e.Looked(FIRST, busy, None))
            now_s = driven.engine.intake.next_deadline_s() or now_s
            if driven.engine.intake.settler.candidates:
                driven.at(now_s, e.Tick())
        still_looking = FIRST in driven.engine.intake.settler.candidates
        assert (still_looking, driven.saved.get(FIRST)) == ((True, None) if patient else (False, JobState.DEFERRED))


def test_a_run_of_its_own_tries_quarantined_files_anew_and_the_daemon_does_not() -> None:
    for patient in (True, False):
        driven = Driven(patient=patient)
        identity = Identity(1, 1, 1000, 5)
        known = FileRecord(FIRST, identity, JobState.QUARANTINED, "timeout", attempts=2)
        driven.at(0.0, e.Hinted(FIRST, HintKind.FOUND))
        look = Look(FileKind.REGULAR, identity, uid=0, mode=0o644, lease=Lease.GRANTED)
        driven.at(0.0, e.Looked(FIRST, look, known))
        assert (FIRST in driven.engine.jobs.by_ref) is not patient
        if not patient:
            assert driven.engine.jobs.by_ref[FIRST].record.attempts == 0
