"""Bringing work and workers together: who gives, how many workers there are, who starts and who leaves."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core import telling
from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet, Worker
from imgoptd.core.giving import NEEDS_MEMORY, Giver
from imgoptd.core.intake import Intake
from imgoptd.core.job import Job, Stage
from imgoptd.core.limits import Limits
from imgoptd.core.pressure import Gauge, Level, Reading
from imgoptd.core.recycling import Recycling
from imgoptd.core.scaling import FleetState, Inputs, Scaler
from imgoptd.core.sharing import Sharing
from imgoptd.core.shedding import Shedder
from imgoptd.core.spares import Spares, retire
from imgoptd.core.steering import Steering
from imgoptd.core.turn import Turn
from imgoptd.core.vitals import Vitals

PROBE_CPU_S = 0.002
"""Taken for one running probe in the backlog's CPU seconds."""
UNPROBED_BYTES = 512 << 20
"""Taken for what a job may take of which nothing is known yet, when workers are started for it, if none that runs may
take more."""
HELD_AGAIN_S = 5.0
"""How often jobs held for want of memory are estimated anew, by what was learned meanwhile."""


class Dispatcher:
    def __init__(self, intake: Intake, fleet: Fleet) -> None:
        self.jobs = intake.jobs
        self.fleet = fleet
        self.conditions = Conditions()
        self._limits = Limits()
        self.steering = Steering(self.conditions, fleet, self.inputs)
        self.scaler = Scaler()
        self.told = telling.StateTold()
        self._gauge = Gauge()
        self._vitals = Vitals(fleet)
        self._shedder = Shedder(fleet, self._vitals)
        self._recycling = Recycling(fleet, self._vitals)
        self.spares = Spares(fleet, self._vitals, self.conditions)
        self._sharing = Sharing(intake, fleet, self.conditions)
        self._giver = Giver(intake.jobs, fleet, self.conditions, self._sharing)
        self._held_s = 0.0
        """When held jobs were last estimated anew."""
        self._held_lessons = 0
        """How much had been learned by then."""
        self._held_most: int | None = None
        """The largest job that there is memory for, at the last reading; None: unknown, or another limit came since."""
        self._recycle_s: float | None = None
        """When a worker that idles now becomes too old."""

    def inputs(self) -> Inputs:
        jobs, fleet, conditions = self.jobs, self.fleet, self.conditions
        serving = list(fleet.serving())
        running = [job for worker in serving for job in worker.tasks]
        waiting = 0 if conditions.draining or conditions.paused else jobs.backlog.jobs
        memory = conditions.memory()
        return Inputs(
            workers=len(serving),
            idle_workers=len(fleet.idle()),
            busy_workers=sum(1 for worker in serving if worker.tasks),
            workers_min=conditions.workers_min,
            workers_max=conditions.workers_max,
            backlog_jobs=waiting + len(running),
            backlog_cpu_s=(self._waiting_cpu_s() if waiting else 0.0)
            + sum(job.estimate.cpu_s or PROBE_CPU_S for job in running),
            cpus=conditions.sensed.cpus,
            others_cpus=conditions.sensed.others_cpus,
            available_bytes=conditions.sensed.available_bytes,
            limit_bytes=conditions.sensed.limit_bytes,
            reserve_bytes=memory.reserve_bytes,
            reserved_bytes=fleet.reserved_bytes(),
            budget_bytes=conditions.budget_bytes,
            psi_some_avg10=conditions.sensed.psi_some_avg10,
            psi_some_rate=conditions.sensed.psi_some_rate,
            state=conditions.state,
            draining=conditions.draining,
            paused=conditions.paused,
            commanded=conditions.overridden or conditions.paused,
            memory_for=self._memory_for(),
        )

    def _waiting_cpu_s(self) -> float:
        """What waits, in CPU seconds: of files not probed yet, what files of their size take on the whole."""
        backlog = self.jobs.backlog
        count, size = backlog.unprobed
        unprobed_s = count * self.jobs.estimator.mean_cpu_s(size // count) if count else 0.0
        return backlog.ready_cpu_s + unprobed_s

    def _memory_for(self) -> int | None:
        """How many more workers could begin a job; one at least, while each of those there are has one."""
        free = self.conditions.memory().free_bytes(self.fleet.holdings().values())
        if free is None:
            return None
        first = self.jobs.backlog.foremost()
        head = self.jobs.backlog.next_ready(first) if first is not None else None
        need = max([UNPROBED_BYTES, *(worker.reserved_bytes for worker in self.fleet.serving())])
        if head is not None:
            estimate = self.jobs.estimator.estimate(head.record)
            need = max(1, estimate.least_bytes or estimate.memory_bytes)
        # Probes are over soon, and need none.
        jobless = sum(1 for worker in self.fleet.serving() if not worker.reserved_bytes)
        return max(0 if jobless else 1, free // need - jobless)

    def limit(self, limits: Limits) -> None:
        """These are the limits from now on."""
        self._limits = limits
        self._held_most = None
        self._apply_limits()

    def _apply_limits(self) -> None:
        """Limits that refer to the machine change with it."""
        conditions = self.conditions
        self.steering.configure(*self._limits.workers(conditions.sensed))
        conditions.budget_bytes = self._limits.budget(conditions.sensed)
        conditions.spares_beside = not self._limits.workers_max

    # ---- readings ---------------------------------------------------------------------------------------------------

    def sensed(self, turn: Turn, event: e.Sensed) -> None:
        """A reading of the machine: how short of memory it is, and whether what was held fits now."""
        conditions = self.conditions
        conditions.sensed, conditions.was_read = event, True
        self._apply_limits()
        for one in event.workers:
            worker = self.fleet.workers.get(one.worker)
            if worker is not None:
                job = worker.running
                probed = job is not None and job.record.facts is not None
                later = self.jobs.estimator.later_growth(job.record) if job is not None and probed else ()
                worker.read(one, later)
        held = self._vitals.take(event.workers, turn.now_s)
        conditions.strain = self._gauge.take(self._reading(held), turn.now_s)
        self._unhold(turn)

    def _unhold(self, turn: Turn) -> None:
        """Held jobs get their chance where there is more memory, or where something was learned meanwhile."""
        before, self._held_most = self._held_most, self.conditions.memory().largest_job_bytes()
        if not self.jobs.held or self._held_most is None:
            return
        lessons = self.jobs.estimator.lessons_learned
        learned = lessons != self._held_lessons and turn.now_s - self._held_s >= HELD_AGAIN_S
        if before is None or self._held_most > before or learned:
            self._held_s, self._held_lessons = turn.now_s, lessons
            self.jobs.unhold(turn, NEEDS_MEMORY, self._fits_by_now)

    def is_uneasy(self) -> bool:
        """By the last reading: is memory short, or does it fall fast?"""
        return self.conditions.strain.level is not Level.CALM or self._gauge.is_falling

    def _reading(self, held_bytes: int | None = None) -> Reading:
        sensed = self.conditions.sensed
        growing = sum(self._vitals.growing_bytes(one) for one in self.fleet.workers.values())
        reserve = self.conditions.memory().reserve_bytes
        available, rate = sensed.available_bytes, sensed.psi_some_rate
        return Reading(available, sensed.limit_bytes, reserve, rate, held_bytes, growing)

    def _fits_by_now(self, job: Job) -> bool:
        """Does a held job fit the machine as it is, by what has been learned of its kind since it was estimated?"""
        job.estimate = self.jobs.estimator.estimate(job.record)
        return not self._giver.never_fits(job)

    # ---- a turn -----------------------------------------------------------------------------------------------------

    def run(self, turn: Turn, *, may_start: bool = True) -> None:
        """Give work to those who have room, then grow, shrink, and move workers between domains."""
        conditions = self.conditions
        if not self.jobs.backlog.jobs and not self.fleet.running_jobs():
            self._gauge.forget()
            conditions.strain = self._gauge.strain
        conditions.state = self._fleet_state(blocked=False)
        if conditions.strain.level is Level.SHED:  # in a drain, too
            self._shed(turn)
        may_begin = self._may_begin(turn.now_s)
        self._recycle_s = None
        if may_begin and may_start:
            self._recycle(turn)
        if may_begin and self._giver.give(turn):
            conditions.state = self._fleet_state(blocked=True)
        self._recall(turn)
        if self._scale(turn, may_start=may_start and may_begin) and may_begin and self._giver.give(turn):
            conditions.state = self._fleet_state(blocked=True)
        self.spares.review(turn)
        self.told.tell(turn, conditions, self.inputs)

    def next_deadline_s(self) -> float | None:
        """When `run` has something to do although nothing happens; None: not before an event."""
        times = (
            self.scaler.next_deadline_s(),
            self.told.next_deadline_s(),
            self.spares.next_deadline_s(),
            self._recycle_s,
        )
        return min((time for time in times if time is not None), default=None)

    def _fleet_state(self, *, blocked: bool) -> FleetState:
        conditions = self.conditions
        if conditions.draining:
            return FleetState.DRAIN
        if conditions.strain.level is Level.SHED:
            return FleetState.SHED
        if conditions.paused or conditions.strain.level is Level.PAUSE:
            return FleetState.PAUSE
        if conditions.blind:
            return FleetState.BLIND
        return FleetState.CONSTRAINED if blocked else FleetState.RUN

    def _may_begin(self, now_s: float) -> bool:
        """May anything be given out?

        On a machine that others keep full, with little waiting for memory, one job at a time may, if it leaves the
        floor: else nothing would ever be done there.
        """
        conditions = self.conditions
        conditions.room_bytes = None
        if conditions.draining or conditions.paused:
            return False
        if conditions.strain.level is Level.CALM:
            return True
        reading = self._reading()
        if self.fleet.running_jobs() or not self._gauge.is_merely_full(reading, now_s):
            return False
        if reading.available_bytes is not None:
            conditions.room_bytes = reading.available_bytes - reading.floor_bytes
        return True

    # ---- how many ---------------------------------------------------------------------------------------------------

    def _scale(self, turn: Turn, *, may_start: bool) -> bool:
        """Returns whether some workers idle that did not before."""
        brought = []
        decision = self.scaler.decide(self.inputs(), turn.now_s, may_start=may_start)
        self.conditions.wanted = decision.wanted
        for _ in range(decision.start):
            domain = self._sharing.neediest()
            if domain is None:
                break
            brought.append(self.spares.bring(turn, domain))
        for worker in self.fleet.idle()[: decision.retire]:
            retire(turn, worker)
        if may_start:
            brought += self._move_between_domains(turn)
        if decision.start or decision.retire:
            telling.scale(turn, decision)
        return any(worker.available for worker in brought)

    def _move_between_domains(self, turn: Turn) -> list[Worker]:
        """An idle worker makes way for one of a domain that nobody serves, or whose workers are too few."""
        brought = []
        for worker in self.fleet.idle():
            domain = self._sharing.waiting_elsewhere(worker, turn.now_s) or self._sharing.crowded_elsewhere(worker)
            if domain is not None:
                brought.append(self.spares.bring(turn, domain))
                self.spares.make_way(turn, worker)
                self._sharing.look()
        return brought

    def _shed(self, turn: Turn) -> None:
        inputs = self.inputs()
        ended = self._shedder.shed(turn, self.conditions.strain, self.conditions.memory().largest_job_bytes())
        if ended:
            because = telling.shed(ended, self.conditions.strain, inputs)
            telling.scale(turn, self.scaler.shed(inputs, len(ended)), because)

    def _recall(self, turn: Turn) -> None:
        """What waits in the hands of workers that may not begin it goes back.

        Those are the youngest of more workers than there may be, and all where nothing is to be begun. Probes are over
        before they could be given back.
        """
        conditions = self.conditions
        serving = list(self.fleet.serving())
        none_begins = conditions.state in (FleetState.DRAIN, FleetState.PAUSE, FleetState.SHED)
        for worker in serving if none_begins else serving[conditions.workers_max :]:
            for job in worker.handed[1:]:
                if job.stage is Stage.WORKING and job.ref not in worker.recalled and not worker.killed_for:
                    worker.recalled.add(job.ref)
                    turn.act(c.Recall(worker.id, job.ref))

    def _recycle(self, turn: Turn) -> None:
        """Who is old or fat goes; another of its domain takes its place at once where there is work or a least."""
        for worker in self._recycling.due(turn.now_s):
            retire(turn, worker)
            serving = sum(1 for _ in self.fleet.serving())
            if self.jobs.backlog.urgency(worker.domain) is None and serving >= self.conditions.workers_min:
                telling.recycled(turn, worker, None)
            else:
                telling.recycled(turn, worker, self.spares.bring(turn, worker.domain))
        self._recycle_s = self._recycling.next_deadline_s()
