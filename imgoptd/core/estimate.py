"""Predicted memory and CPU seconds of a job, corrected by what jobs really took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from imgoptd.core.costs import UNKNOWN_SPREAD, Predict, Prediction, predict
from imgoptd.core.evidence import MOST_DOMAINS, Belief, Ratios, believe, middle, upper
from imgoptd.core.model import Domain, Effort, FileRecord

MIB = 1 << 20

FIRST_FACTOR = 2.5
"""The first job of a kind is given so many times what the table says, so that a table that is wrong by twice costs
nothing; less, in the same measure of the logarithm, of what the table is surer than of the unknown."""
ASKED_DEVIATIONS, LEAST_DEVIATIONS = 2.576, 1.645
"""The 99.5th and the 95th percentile of a normal distribution."""
LEAST_FACTOR, MOST_FACTOR = 0.5, 5.0
"""Of the table: what learning may make of it."""
LEAST_TRUSTED, MOST_TRUSTED = 0.25, 4.0
"""A ratio beyond is taken as this: what a worker says of itself must not stop the work of others."""
CPU_TRUSTED = 8.0
"""Likewise of CPU seconds, that and its inverse: machines differ by more."""
GREW_MOST = 8.0

SMALL_BYTES = 32 * MIB
"""A job predicted to take less is of a kind of its own: its base is most of it, and errs otherwise than pixels do."""
TOO_LITTLE_BYTES = 16 * MIB
"""Of a larger one that took less than this nothing is learned of memory: it ended before it had begun to work."""
FELL_SHORT = 1.25
"""A job to which its memory was refused is taken to have needed so many times that."""
GROWTH_JOBS = 8
"""With fewer nothing is said of how jobs grow after they came to rest."""
GROWTH_SHARE = 0.95

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


class Lesson(NamedTuple):
    """What was learned of one kind of job in one trust domain, as the store keeps it: see `core.evidence`."""

    kind: str
    domain: Domain
    memory: tuple[int, ...] = ()
    cpu: tuple[int, ...] = ()
    growth: tuple[int, ...] = ()


class _Kind:
    """What was learned of one kind of job: ratios of actual to predicted, and of later to earlier."""

    def __init__(self) -> None:
        self.memory = Ratios(LEAST_TRUSTED, MOST_TRUSTED)
        self.cpu = Ratios(1 / CPU_TRUSTED, CPU_TRUSTED)
        self.growth = Ratios(1.0, GREW_MOST)
        self.beliefs: dict[tuple[Domain, float], tuple[Belief, float]] = {}
        """By domain and prior spread: of memory, and the factor for CPU seconds; worked out once after each lesson."""


class Estimator:
    """Keeps, for each format, way of coding and order of size, what jobs really took, by trust domain."""

    def __init__(self, predict: Predict = predict) -> None:
        self._predict = predict
        self._kinds: dict[str, _Kind] = {}
        self._files: dict[int, tuple[float, float]] = {}
        """By order of file size: files seen and their CPU seconds, both fading."""
        self.lessons_learned = 0
        """Rises with each thing learned that is worth keeping."""

    def estimate(self, record: FileRecord) -> Estimate:
        """Of a file that was probed."""
        raw = self._predict(record)
        belief, cpu_factor = self._beliefs(_kind(record, raw), _domain(record), raw.spread)
        memory, cpu_s = raw.memory_bytes, raw.cpu_s * cpu_factor
        if not belief.jobs:
            first = int(FIRST_FACTOR ** (raw.spread / UNKNOWN_SPREAD) * memory)
            return Estimate(first, cpu_s, first, int(memory))
        asked, least, likely = (
            int(memory * min(MOST_FACTOR, max(LEAST_FACTOR, ratio)))
            for ratio in (
                max(belief.high, belief.ratio(ASKED_DEVIATIONS)),
                max(belief.high, belief.ratio(LEAST_DEVIATIONS)),
                belief.ratio(0.0),
            )
        )
        return Estimate(asked, cpu_s, least, likely, belief.jobs)

    def mean_cpu_s(self, size_bytes: int) -> float:
        """CPU seconds that a file of that size is likely to cost of which nothing else is known yet: the mean."""
        seen, cpu_s = self._files.get(_order(size_bytes), (0.0, 0.0))
        guess_s = min(FILE_CPU_MOST_S, max(FILE_CPU_LEAST_S, FILE_CPU_S_PER_MIB * size_bytes / MIB))
        return max(FILE_CPU_LEAST_S, (cpu_s + FILE_JOBS * guess_s) / (seen + FILE_JOBS))

    def later_growth(self, record: FileRecord) -> float | None:
        """How many times what it held when it first came to rest a job takes at its peak, with 95 of 100 no more.

        None: too few were seen.
        """
        kind = self._kinds.get(_kind(record, self._predict(record)))
        return None if kind is None else upper(kind.growth.of(_domain(record)), GROWTH_SHARE, GROWTH_JOBS)

    # ---- learning ---------------------------------------------------------------------------------------------------

    def learn(self, record: FileRecord, effort: Effort, idle_rss_bytes: int | None) -> None:
        """Take in what a finished job took."""
        raw = self._predict(record)
        above = effort.peak_bytes - idle_rss_bytes if effort.peak_bytes and idle_rss_bytes is not None else 0
        kind = self._taught(record, raw)
        if above > (0 if raw.memory_bytes < SMALL_BYTES else TOO_LITTLE_BYTES):
            kind.memory.add(_domain(record), above / max(1.0, raw.memory_bytes))
        if effort.cpu_s > 0 and raw.cpu_s > 0:
            kind.cpu.add(_domain(record), effort.cpu_s / raw.cpu_s)
            self.learn_file(record.identity.size, effort.cpu_s)

    def learn_short(self, record: FileRecord, refused_at_bytes: int) -> None:
        """A job was refused more than it had been given, or was killed for lack of memory: it needed more than this."""
        raw = self._predict(record)
        ratio = FELL_SHORT * refused_at_bytes / max(1.0, raw.memory_bytes)
        self._taught(record, raw).memory.add(_domain(record), ratio)

    def learn_growth(self, record: FileRecord, at_rest_bytes: int, peak_bytes: int) -> None:
        """A job held so much above the idle worker when it first came to rest, and so much at its peak."""
        if at_rest_bytes > 0 and peak_bytes > 0:
            kind = self._taught(record, self._predict(record))
            kind.growth.add(_domain(record), peak_bytes / at_rest_bytes)

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
            kind = self._kinds.setdefault(lesson.kind, _Kind())
            kind.memory.restore(lesson.domain, lesson.memory)
            kind.cpu.restore(lesson.domain, lesson.cpu)
            kind.growth.restore(lesson.domain, lesson.growth)
            kind.beliefs.clear()

    def _taught(self, record: FileRecord, raw: Prediction) -> _Kind:
        kind = self._kinds.setdefault(_kind(record, raw), _Kind())
        kind.beliefs.clear()
        self.lessons_learned += 1
        return kind

    def _beliefs(self, name: str, domain: Domain, spread: float) -> tuple[Belief, float]:
        kind = self._kinds.get(name)
        if kind is None:
            return believe(()), 1.0
        if (domain, spread) not in kind.beliefs:
            if len(kind.beliefs) >= MOST_DOMAINS:
                kind.beliefs.clear()
            kind.beliefs[domain, spread] = believe(kind.memory.of(domain), spread), middle(kind.cpu.of(domain))
        return kind.beliefs[domain, spread]


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
