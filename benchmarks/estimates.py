"""`python -m benchmarks.estimates [--corpus DIR] [--made] [--once-each]`: what jobs take against what was predicted.

Each file is probed and optimised by a real worker (template, sandbox, VmHWM as in the daemon), one after the other. The
table gives, for each kind, actual ÷ predicted by the table of costs, and actual ÷ reserved: by what had been learned
from the files before (`asked`: the reservation where there is room, `least`: the one that suffices). Resident memory is
read every few milliseconds besides, and what a job held when it first came to rest is compared with its peak.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import struct
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
from PIL import Image

from imgoptd.adapters.pool import Pool
from imgoptd.adapters.processes import resident_bytes
from imgoptd.core import events as e
from imgoptd.core.costs import predict
from imgoptd.core.estimate import Estimator
from imgoptd.core.model import FileRecord, FileRef, Identity, ImageFacts, JobSettings, JobState, Verdict
from imgoptd.wire import messages as m

MIB = 1 << 20
NOBODY = 65534
GIVES_UP_S = 900.0
READ_EVERY_S = 0.005
REST_S = 0.25
"""A job that has not grown for so long is taken to be at rest."""
MADE_MEGAPIXELS = (0.02, 0.3, 2, 6, 12, 24, 50, 100)
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column and row, steps (PNG specification, 8.2)."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one job took, in bytes above the idle worker and CPU seconds."""

    name: str
    format: str
    progressive: bool
    megapixels: float
    depth_bits: int
    channels: int
    file_bytes: int
    verdict: str
    took_bytes: int
    cpu_s: float
    table_bytes: float
    table_cpu_s: float
    asked_bytes: int
    """What would have been reserved, by what was learned before."""
    least_bytes: int
    growth: float | None
    """Peak ÷ what it held when it first came to rest; None where it never did."""


class Workers:
    """A pool with one worker in it, spoken to as the daemon does."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._events: list[e.Event] = []
        self._worker = 0
        self.idle_bytes = 0
        self._pool = Pool(
            self._post, nice=0, drop_uid=NOBODY if os.geteuid() == 0 else None, oom_kills=lambda: None
        )  # fmt: skip

    def _post(self, event: e.Event) -> None:
        self._events.append(event)
        self._news.set()

    def open(self) -> None:
        self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def fresh(self) -> None:
        """Have a new worker in the place of the one that is there."""
        if self._worker:
            self._pool.retire(self._worker)
            await self._next(e.WorkerExited)
        self._worker += 1
        self._pool.start(self._worker)
        started = await self._next(e.WorkerStarted)
        assert isinstance(started, e.WorkerStarted)
        self.idle_bytes = started.rss_bytes or 0

    async def probe(self, path: Path) -> ImageFacts | None:
        with path.open("rb") as file:
            self._pool.send_probe(self._worker, FileRef(b"", b""), file.fileno())
        probed = await self._next(e.Probed)
        assert isinstance(probed, e.Probed)
        return None if probed.facts is None or probed.facts.leave is not None else probed.facts

    async def optimize(self, path: Path, facts: ImageFacts) -> tuple[e.Finished, float | None]:
        """The outcome, and how much it grew after it had first come to rest."""
        with path.open("rb") as source, tempfile.TemporaryFile() as target:
            fds = [source.fileno(), target.fileno()]
            self._pool.send_job(self._worker, FileRef(b"", b""), m.OptimizeTask(0, facts, JobSettings()), fds)
            over = asyncio.Event()
            watching = asyncio.ensure_future(self._watch(over))
            finished = await self._next(e.Finished)
            over.set()
        assert isinstance(finished, e.Finished)
        rest_bytes = await watching
        peak_bytes = finished.outcome.effort.peak_bytes - self.idle_bytes
        return finished, max(1.0, peak_bytes / rest_bytes) if rest_bytes else None

    async def _watch(self, over: asyncio.Event) -> int:
        """What the worker held above its idle self when it had not grown for REST_S; 0: it grew to the end."""
        loop = asyncio.get_running_loop()
        pid, most, since_s, rest = self._pool.pids()[self._worker], 0, loop.time(), 0
        while not over.is_set():
            held = resident_bytes(pid) or 0
            if held > most * 1.01:
                most, since_s = held, loop.time()
            elif not rest and most > self.idle_bytes + 16 * MIB and loop.time() - since_s >= REST_S:
                rest = most - self.idle_bytes
            await asyncio.sleep(READ_EVERY_S)
        return rest

    async def _next(self, kind: type[e.Event]) -> e.Event:
        async with asyncio.timeout(GIVES_UP_S):
            while not self._events:
                self._news.clear()
                await self._news.wait()
        event = self._events.pop(0)
        assert isinstance(event, kind), event
        return event


async def measure(paths: Sequence[Path], *, once_each: bool) -> list[Point]:
    """One job for each file that one can be made of. `once_each`: a new worker for each."""
    workers, estimator, points = Workers(), Estimator(), []
    workers.open()
    try:
        await workers.fresh()
        for path in paths:
            if once_each:
                await workers.fresh()
            facts = await workers.probe(path)
            if facts is None:
                continue
            finished, growth = await workers.optimize(path, facts)
            point = taken(path, facts, finished, growth, workers.idle_bytes, estimator)
            if point is not None:
                points.append(point)
    finally:
        await workers.close()
    return points


def taken(
    path: Path, facts: ImageFacts, finished: e.Finished, growth: float | None, idle_bytes: int, estimator: Estimator
) -> Point | None:
    outcome, size = finished.outcome, path.stat().st_size
    if outcome.verdict is Verdict.FAILED:
        return None
    record = FileRecord(FileRef(b"/", b"a"), Identity(1, 1, size, 1), JobState.ACTIVE, facts=facts, uid=0)
    table, estimate = predict(record), estimator.estimate(record)
    estimator.learn(record, outcome.effort, idle_bytes)
    return Point(
        path.name, facts.format, facts.progressive, facts.pixels / 1e6, facts.depth_bits, facts.channels, size,
        outcome.verdict, max(0, outcome.effort.peak_bytes - idle_bytes), outcome.effort.cpu_s,
        table.memory_bytes, table.cpu_s, estimate.memory_bytes, estimate.least_bytes, growth,
    )  # fmt: skip


# ---- pictures -------------------------------------------------------------------------------------------------------


def make(folder: Path, megapixels: float) -> Iterator[Path]:
    """One picture of that size in each way of coding. Photographs cost PNG most, so all are photo-like."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(megapixels * 1e6 / width)
    grain = numpy.random.default_rng(width).integers(0, 9, (height, width, 3), dtype=numpy.uint8)
    across = numpy.linspace(0, 200, width, dtype=numpy.uint8)[None, :, None]
    down = numpy.linspace(0, 40, height, dtype=numpy.uint8)[:, None, None]
    pixels = across + down + grain
    picture = Image.fromarray(pixels)
    for name, options in (("baseline", {}), ("progressive", {"progressive": True})):
        path = folder / f"made-{megapixels}-{name}.jpg"
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=90, **options)
        path.write_bytes(out.getvalue())
        yield path
    palette = Image.fromarray(pixels[:, :, 0])
    palette.putpalette(bytes(range(256)) * 3)
    path = folder / f"made-{megapixels}-palette.png"
    palette.save(path, compress_level=1)
    yield path
    for interlaced in (False, True):
        path = folder / f"made-{megapixels}-{'interlaced' if interlaced else 'plain'}.png"
        path.write_bytes(as_png(pixels, interlaced=interlaced))
        yield path


def as_png(pixels: numpy.ndarray, *, interlaced: bool) -> bytes:
    """RGB, 8 bits, every row filtered as the difference to its left neighbour."""
    parts = [pixels[y0::dy, x0::dx] for x0, y0, dx, dy in PASSES] if interlaced else [pixels]
    rows = bytearray()
    for part in parts:
        if part.size:
            height, width, _ = part.shape
            left = numpy.concatenate([numpy.zeros((height, 1, 3), numpy.uint8), part[:, :-1]], axis=1)
            lines = numpy.concatenate([numpy.ones((height, 1), numpy.uint8), (part - left).reshape(height, -1)], axis=1)
            rows += lines.tobytes()
    height, width, _ = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, int(interlaced))
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


# ---- the table ------------------------------------------------------------------------------------------------------


def table(points: Sequence[Point]) -> str:
    kinds: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in points:
        size = "small" if point.table_bytes < 32 * MIB else "large"
        way = f"{point.format}{' progressive' if point.progressive and point.format == 'jpeg' else ''}"
        way += " interlaced" if point.progressive and point.format != "jpeg" else ""
        kinds[way, size].append(point)
    lines = [
        "| kind | jobs | memory ÷ table | ÷ asked | ÷ least | CPU ÷ table | growth after rest |",
        "|---|" + "---|" * 6,
    ]
    for (way, size), of_kind in sorted(kinds.items()):
        columns = [
            spread([point.took_bytes / point.table_bytes for point in of_kind]),
            spread([point.took_bytes / point.asked_bytes for point in of_kind]),
            spread([point.took_bytes / point.least_bytes for point in of_kind]),
            spread([point.cpu_s / point.table_cpu_s for point in of_kind]),
            spread([point.growth for point in of_kind if point.growth is not None]),
        ]
        lines.append(f"| {way}, {size} | {len(of_kind)} | {' | '.join(columns)} |")
    return "\n".join(lines)


def spread(ratios: Sequence[float]) -> str:
    """Median, 99th percentile and highest."""
    if not ratios:
        return "-"
    ranked = sorted(ratios)
    return " ".join(f"{ranked[min(len(ranked) - 1, int(share * len(ranked)))]:.2f}" for share in (0.5, 0.99, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a folder of images, with those below it")
    parser.add_argument("--made", type=float, nargs="*", help=f"made pictures of so many megapixels: {MADE_MEGAPIXELS}")
    parser.add_argument("--once-each", action="store_true", help="a new worker for each file")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the files")
    parser.add_argument("--points", type=Path, help="write each job to this file, as JSON lines")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imgoptd-bench-") as scratch:
        paths = sorted(path for path in chosen.corpus.rglob("*") if path.is_file()) if chosen.corpus else []
        if chosen.made is not None:
            for megapixels in chosen.made or MADE_MEGAPIXELS:
                paths += make(Path(scratch), megapixels)
        random.Random(chosen.seed).shuffle(paths)
        points = asyncio.run(measure(paths, once_each=chosen.once_each))
    print("median, 99th percentile, highest; in the order of the jobs, so that what was learned grows")
    print(table(points))
    if chosen.points:
        chosen.points.write_text("".join(json.dumps(asdict(point)) + "\n" for point in points))


if __name__ == "__main__":
    main()
