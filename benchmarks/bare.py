"""The bare loop: read, encode, write, as fast as the codecs go, and nothing else.

Forked processes take files from one shared counter, largest first, so that no process waits at the end for longer
than one file takes. `python -m benchmarks.bare FOLDER --processes 2 [--verify]`; prints one JSON object.

Without `--verify` a result is written as the codec gave it. With it, the same work as the daemon's workers do is
done: strict decoding of the original, the codec, metadata put back, decoding of the result, comparison.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

MIN_SAVING = 0.01
"""As the daemon's default: less is not worth a rewrite."""

Codec = Callable[[bytes], bytes | None]


def codec_alone() -> Codec:
    """mozjpeg's lossless transcoding and oxipng at level 2, with all metadata."""
    import mozjpeg_lossless_optimization as mozjpeg  # type: ignore[import-untyped]  # the package ships no types
    import oxipng

    def encode(data: bytes) -> bytes | None:
        if data[:3] == b"\xff\xd8\xff":
            return bytes(mozjpeg.optimize(data, copy=mozjpeg.COPY_MARKERS.ALL))
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return bytes(oxipng.optimize_from_memory(data, level=2, strip=oxipng.StripChunks.none()))
        return None

    return encode


def codec_verified() -> Codec:
    """What a worker does with a file: the project's own codecs, which decode and compare."""
    from imgoptd.core.model import JobSettings
    from imgoptd.imaging.failures import Unfit
    from imgoptd.imaging.registry import by_content

    settings = JobSettings(min_saving=MIN_SAVING)

    def encode(data: bytes) -> bytes | None:
        codec = by_content(data[:4096])
        try:
            return None if codec is None else codec.optimize(data, settings)
        except Unfit:
            return None

    return encode


def work(paths: list[Path], counter: multiprocessing.sharedctypes.Synchronized[int], encode: Codec) -> dict[str, float]:
    """Take files until none is left. Returns the bytes saved, files written and CPU seconds inside the codec."""
    told: dict[str, float] = {"saved": 0, "written": 0, "codec_cpu_s": 0.0}
    while True:
        with counter.get_lock():
            number, counter.value = counter.value, counter.value + 1
        if number >= len(paths):
            return told
        path = paths[number]
        data = path.read_bytes()
        began = time.process_time()
        result = encode(data)
        told["codec_cpu_s"] += time.process_time() - began
        if result is not None and len(result) <= len(data) * (1 - MIN_SAVING):
            temp = path.with_name(f".{path.name}.temp")
            temp.write_bytes(result)
            os.replace(temp, path)
            told["saved"] += len(data) - len(result)
            told["written"] += 1


def run(folder: Path, processes: int, verify: bool) -> dict[str, float]:
    """Optimise the folder in place. Raises RuntimeError when a process did not end well."""
    os.environ["RAYON_NUM_THREADS"] = "1"  # read by oxipng when it is first used: one thread a process
    encode = codec_verified() if verify else codec_alone()
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size)
    fork = multiprocessing.get_context("fork")
    counter = fork.Value("q", 0)
    ends = [fork.Pipe(duplex=False) for _ in range(processes)]
    began = time.monotonic()

    def child(number: int) -> None:
        ends[number][1].send(work(paths, counter, encode))

    children = [fork.Process(target=child, args=(number,)) for number in range(processes)]
    for process in children:
        process.start()
    told = []
    for process, (receiver, sender) in zip(children, ends, strict=True):
        sender.close()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process of the bare loop ended with {process.exitcode}")
        told.append(receiver.recv())
    total = {key: sum(part[key] for part in told) for key in told[0]}
    return total | {"loop_wall_s": time.monotonic() - began, "processes": processes}


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    options.add_argument("folder", type=Path)
    options.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--verify", action="store_true")
    chosen = options.parse_args()
    print(json.dumps(run(chosen.folder, chosen.processes, chosen.verify)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
