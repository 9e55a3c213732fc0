"""Predicted memory and CPU seconds of a job, corrected by what jobs really took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from imgoptd.core.costs import UNKNOWN_SPREAD, Predict, Prediction, by_picture, predict
from imgoptd.core.evidence import ENOUGH, Belief
from imgoptd.core.kinds import NOTHING, Beliefs, Kind, is_better
from imgoptd.core.model import Domain, Effort, FileRecord

MIB = 1 << 20

FIRST_FACTOR = 2.5
"""The first job of a kind is given so many times what the table says, so that a table that is wrong by twice costs
nothing; less, in the same measure of the logarithm, of what the table is surer than of the unknown."""
BESIDE_FACTOR = 1.6
"""While one of its kind runs so, others are given so many times that at least."""
ASKED_DEVIATIONS, LEAST_DEVIATIONS = 2.576, 1.645
"""The 99.5th and the 95th percentile of a normal distribution."""
LEAST_FACTOR, MOST_FACTOR = 0.5, 5.0
"""Of the table: what learning may make of it."""
SMALL_BYTES = 32 * MIB
"""A job predicted to take less is of a kind of its own: its base is most of it, and errs otherwise than pixels do."""
TOO_LITTLE_BYTES = 16 * MIB
"""Of a larger one that took less than this nothing is learned of memory: it ended before it had begun to work."""
FELL_SHORT = 1.25
"""A job to which its memory was refused is taken to have needed so many times that."""
BY_PICTURE = " by picture"
"""What jobs took against the size of the picture alone is kept beside: the name of the kind goes on so."""
REST_STAGES = ("", " resting longer", " resting long")
"""Likewise later growth, by stage of rest (`core.growth`)."""

FILE_CPU_S_PER_MIB = 0.1
FILE_CPU_LEAST_S = 0.02
"""The first guess for a file that was not probed."""
FILE_JOBS = 4
"""The first guess weighs as much as so many files."""
FILE_FORGETS = 1 / 64
"""Share of what was seen of files of a size that each further one makes forgotten."""
FILE_CPU_MOST_S = 60.0
"""A file is not taken to have cost more, whatever its worker says."""

FORMATS = frozenset({"jpeg", "png", "webp", "gif", "avif", "heic", "tiff", "svg", "jxl", "bmp"})
"""What is learned of any other is kept together: a worker that was taken over can invent names without end."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job takes, by the table and by what was learned. Memory is the peak above the idle worker, in bytes."""

    memory_bytes: int
    """The reservation where there is room: 995 of 1,000 jobs take no more."""
    cpu_s: float
    """As many jobs take more as take less."""
    least_bytes: int = 0
    """The reservation that suffices where there is not: 95 of 100 take no more."""
    likely_bytes: int = 0
    """As many jobs take more as take less."""
    learned_from: int = 0
    """Jobs of the kind that it rests on; 0: on the table alone."""
    spread: float = 0.0
    """Of the natural logarithm of the memory: a standard deviation."""

    @property
    def is_known(self) -> bool:
        """Is enough known of the kind to speak of mean and variance?"""
        return self.learned_from >= ENOUGH

    @property
    def mean_bytes(self) -> float:
        """Of a log-normal distribution, as `variance` is."""
        return self.likely_bytes * math.exp(self.spread**2 / 2)

    @property
    def variance(self) -> float:
        """Bytes squared."""
        return self.mean_bytes**2 * math.expm1(self.spread**2)


class Lesson(NamedTuple):
    """What was learned of one kind of job in one trust domain, as the store keeps it: see `core.evidence`."""

    kind: str
    domain: Domain
    memory: tuple[int, ...] = ()
    cpu: tuple[int, ...] = ()
    growth: tuple[int, ...] = ()


class Estimator:
    """Keeps, for each format, way of coding and order of size, what jobs really took, by trust domain."""

    def __init__(self, predict: Predict = predict) -> None:
        self._predict = predict
        self._kinds: dict[str, Kind] = {}
        self._files: dict[int, tuple[float, float]] = {}
        """By order of file size: files seen and their CPU seconds, both fading."""
        self.lessons_learned = 0
        """Rises with each thing learned that is worth keeping."""

    def estimate(self, record: FileRecord) -> Estimate:
        """Of a file that was probed."""
        raw = self._predict(record)
        name, domain = _kind(record, raw), _domain(record)
        memory_bytes, belief, cpu_s = self._best(record, raw, name, domain)
        if not belief.jobs:
            first, beside = (
                int(factor ** (raw.spread / UNKNOWN_SPREAD) * memory_bytes) for factor in (FIRST_FACTOR, BESIDE_FACTOR)
            )
            return Estimate(first, cpu_s, beside, int(memory_bytes))
        asked, least, likely = (
            int(memory_bytes * min(MOST_FACTOR, max(LEAST_FACTOR, ratio)))
            for ratio in (
                max(belief.high, belief.ratio(ASKED_DEVIATIONS)),
                max(belief.high, belief.ratio(LEAST_DEVIATIONS)),
                belief.ratio(0.0),
            )
        )
        return Estimate(asked, cpu_s, least, likely, belief.jobs, belief.spread)

    def kind(self, record: FileRecord) -> str:
        """Jobs of a kind are learned from together."""
        return _kind(record, self._predict(record))

    def mean_cpu_s(self, size_bytes: int) -> float:
        """CPU seconds that a file of that size is likely to cost of which nothing else is known yet: the mean."""
        seen, cpu_s = self._files.get(_order(size_bytes), (0.0, 0.0))
        guess_s = min(FILE_CPU_MOST_S, max(FILE_CPU_LEAST_S, FILE_CPU_S_PER_MIB * size_bytes / MIB))
        return max(FILE_CPU_LEAST_S, (cpu_s + FILE_JOBS * guess_s) / (seen + FILE_JOBS))

    def later_growth(self, record: FileRecord) -> list[float | None]:
        """How many times what it held when it first came to rest a job takes at its peak, with 95 of 100 no more.

        For each stage of rest; None: too few were seen.
        """
        name, domain = _kind(record, self._predict(record)), _domain(record)
        kinds = [self._kinds.get(name + stage) for stage in REST_STAGES]
        return [None if kind is None else kind.later_growth(domain) for kind in kinds]

    # ---- learning ---------------------------------------------------------------------------------------------------

    def learn(self, record: FileRecord, effort: Effort, idle_rss_bytes: int | None) -> None:
        """Take in what a finished job took."""
        raw = self._predict(record)
        above = effort.peak_bytes - idle_rss_bytes if effort.peak_bytes and idle_rss_bytes is not None else 0
        name, domain = _kind(record, raw), _domain(record)
        for kind, by in ((self._taught(name), raw), (self._taught(name + BY_PICTURE), by_picture(record))):
            if above > (0 if raw.memory_bytes < SMALL_BYTES else TOO_LITTLE_BYTES):
                kind.memory.add(domain, above / max(1.0, by.memory_bytes))
            if effort.cpu_s > 0 and raw.cpu_s > 0:
                kind.cpu.add(domain, effort.cpu_s / by.cpu_s)
        if effort.cpu_s > 0 and raw.cpu_s > 0:
            self.learn_file(record.identity.size, effort.cpu_s)

    def learn_short(self, record: FileRecord, refused_at_bytes: int) -> None:
        """A job was refused more than it had been given, or was killed for lack of memory: it needed more than this."""
        raw = self._predict(record)
        name, domain, needed = _kind(record, raw), _domain(record), FELL_SHORT * refused_at_bytes
        for kind, by in ((self._taught(name), raw), (self._taught(name + BY_PICTURE), by_picture(record))):
            kind.memory.add(domain, needed / max(1.0, by.memory_bytes))

    def learn_growth(self, record: FileRecord, rested_bytes: Sequence[int], peak_bytes: int) -> None:
        """A job held so much above the idle worker when it first came to each stage of rest, and so much at its peak.

        `rested_bytes`: of the stages that it came to.
        """
        if peak_bytes > 0:
            name = _kind(record, self._predict(record))
            for stage, at_rest_bytes in zip(REST_STAGES, rested_bytes, strict=False):
                self._taught(name + stage).growth.add(_domain(record), peak_bytes / at_rest_bytes)

    def learn_file(self, size_bytes: int, cpu_s: float) -> None:
        """A file of that size has cost so much; nothing, where its probe said that there is nothing to do."""
        seen, so_far_s = self._files.get(_order(size_bytes), (0.0, 0.0))
        kept = 1 - FILE_FORGETS
        self._files[_order(size_bytes)] = (seen * kept + 1, so_far_s * kept + min(FILE_CPU_MOST_S, cpu_s))

    # ---- what is kept from one run to the next ----------------------------------------------------------------------

    def lessons(self) -> tuple[Lesson, ...]:
        """All that was learned, but for the cost of files that were not probed."""
        found = []
        for name, kind in self._kinds.items():
            parts = (kind.memory.by_domain, kind.cpu.by_domain, kind.growth.by_domain)
            for domain in dict.fromkeys(domain for part in parts for domain in part):
                memory, cpu, growth = (tuple(part.get(domain, ())) for part in parts)
                found.append(Lesson(name, domain, memory, cpu, growth))
        return tuple(found)

    def restore(self, lessons: Iterable[Lesson]) -> None:
        """Begin with what an earlier run has learned."""
        for lesson in lessons:
            kind = self._kinds.setdefault(lesson.kind, Kind())
            kind.memory.restore(lesson.domain, lesson.memory)
            kind.cpu.restore(lesson.domain, lesson.cpu)
            kind.growth.restore(lesson.domain, lesson.growth)
            kind.forget()

    def _taught(self, name: str) -> Kind:
        kind = self._kinds.setdefault(name, Kind())
        kind.forget()
        self.lessons_learned += 1
        return kind

    def _best(self, record: FileRecord, raw: Prediction, name: str, domain: Domain) -> tuple[float, Belief, float]:
        """Bytes to go by and the ratio to be expected of them; CPU seconds, corrected.

        Of the table and of the mere size of the picture that counts which has told better what jobs took.
        """
        picture = by_picture(record)
        by_table = self._beliefs(name, domain, raw.spread)
        by_size = self._beliefs(name + BY_PICTURE, domain, picture.spread)
        memory_bytes, memory, cpu_s = raw.memory_bytes, by_table.memory, raw.cpu_s * by_table.cpu_factor
        if is_better(by_size.memory, by_table.memory):
            memory_bytes, memory = picture.memory_bytes, by_size.memory
        if is_better(by_size.cpu, by_table.cpu):
            cpu_s = picture.cpu_s * by_size.cpu_factor
        return memory_bytes, memory, cpu_s

    def _beliefs(self, name: str, domain: Domain, spread: float) -> Beliefs:
        kind = self._kinds.get(name)
        return kind.believed(domain, spread) if kind is not None else NOTHING


def _kind(record: FileRecord, raw: Prediction) -> str:
    """What is learned from is told by: format, way of coding, and whether it is a small job."""
    facts = record.facts
    assert facts is not None
    words = [facts.format if facts.format in FORMATS else "other"]
    words += ["progressive"] if facts.progressive else []
    words += ["small"] if raw.memory_bytes < SMALL_BYTES else []
    return " ".join(words)


def _domain(record: FileRecord) -> Domain:
    return Domain(record.ref.root, record.uid)


def _order(size_bytes: int) -> int:
    """Files of one order of size differ by less than four times."""
    return size_bytes.bit_length() // 2
