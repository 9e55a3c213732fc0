"""A pool of N processes for good, over a folder: what `multiprocessing.Pool(N).map` of our own codecs would be.

Each process takes the next file by name, does what a worker of the daemon does (strict decoding, codec, comparison) and
replaces it: `python -m benchmarks.static_pool FOLDER PROCESSES GROUP`, GROUP being the cgroup that they join. A process
that the kernel kills is replaced, and its file comes last, at most `RETRIES` times again.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks import bare, memory_group

RETRIES = 3


@dataclass(slots=True)
class Told:
    """How it went."""

    kills: int = 0
    """Processes that ended without an answer."""
    given_up: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Hand:
    process: BaseProcess
    pipe: Connection
    path: Path | None = None


def main() -> int:
    os.environ["RAYON_NUM_THREADS"] = "1"  # read by oxipng when it is first used: one thread a process
    folder, processes, group = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    told = run(folder, processes, lambda: memory_group.join(group))
    print(f"{told.kills} killed, given up: {' '.join(told.given_up) or 'none'}")
    return 0


def run(folder: Path, processes: int, join: Callable[[], None]) -> Told:
    """Work through the folder. `join` is called in each process first; this one only hands out names."""
    encode = bare.codec_verified()
    waiting = deque(sorted(path for path in folder.rglob("*") if path.is_file()))
    told, tries = Told(), Counter[Path]()
    hands = [_begin(encode, join) for _ in range(processes)]
    try:
        while waiting or any(hand.path for hand in hands):
            for hand in hands:
                if hand.path is None and waiting:
                    hand.path = waiting.popleft()
                    with suppress(BrokenPipeError):  # killed already: that is seen below
                        hand.pipe.send(hand.path)
            ready = wait([hand.pipe for hand in hands if hand.path])
            for number, hand in enumerate(hands):
                path = hand.path
                if path is None or hand.pipe not in ready:
                    continue
                try:
                    hand.pipe.recv()
                    hand.path = None
                except (EOFError, ConnectionResetError):
                    told.kills += 1
                    tries[path] += 1
                    if tries[path] <= RETRIES:
                        waiting.append(path)
                    else:
                        told.given_up.append(path.name)
                    _end(hand)
                    hands[number] = _begin(encode, join)
    finally:
        for hand in hands:
            _end(hand)
    return told


def _begin(encode: bare.Codec, join: Callable[[], None]) -> _Hand:
    # Forked after the codecs were loaded, as the daemon's workers are. Our ends of the others' pipes are closed there,
    # so that each end of a pipe has one holder and the death of that is seen.
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_work, args=(ours, theirs, encode, join), daemon=True)
    process.start()
    theirs.close()
    return _Hand(process, ours)


def _end(hand: _Hand) -> None:
    hand.pipe.close()
    hand.process.kill()
    hand.process.join()


def _work(ours: Connection, pipe: Connection, encode: bare.Codec, join: Callable[[], None]) -> None:
    ours.close()
    join()
    while True:
        path: Path = pipe.recv()
        data = path.read_bytes()
        try:
            result = encode(data)
        except MemoryError:  # a codec that asks before it takes; the kernel asks nobody
            os._exit(1)
        if result is not None and len(result) <= len(data) * (1 - bare.MIN_SAVING):
            temp = path.with_name(f".{path.name}.temp")
            temp.write_bytes(result)
            os.replace(temp, path)
        pipe.send(True)


if __name__ == "__main__":
    sys.exit(main())
