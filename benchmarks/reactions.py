"""`python -m benchmarks.reactions [--seconds N] [--seed N] [--row NAME]`: how fast the running daemon reacts (root).

- burst: from the first file of many that is complete in a folder, to the decision to start workers for them.
- pause: from the first rise of the kernel's count of stalls (`total=`) in the daemon's memory group, to giving out no
  more jobs.
- shed: from the moment that stalls made up a fifth of the last second, to ending the first attempt.

Real daemons, real groups, real pressure. A round fails that takes longer than its limit. Results add up over runs in
`benchmarks/results/reactions.jsonl`; the bound is 3/N at 95 % confidence where none failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import tests.images
from benchmarks.pressing import MIB, Group, Readers, Unable, group, readers
from imgoptd.cli.client import Client, ControlFailure
from tests.torture import results

LIMITS_S = {"burst": 0.25, "pause": 0.5, "shed": 0.75}
ASKS = {
    "burst": "burst of files -> decision to start workers, at most 250 ms",
    "pause": "first stall counted -> no more jobs are given out, at most 500 ms",
    "shed": "stalls for a fifth of a second -> first attempt ended, at most 750 ms",
}
FILE = Path("benchmarks/results/reactions.jsonl")
GROUP_BYTES, READERS = 384 * MIB, 4
CALM_S = 40.0
"""So long a daemon may take to be calm again."""
PRESSED_S = 4.0
SEVERE = 0.2
WAITING_JOBS = 12


class Round(NamedTuple):
    row: str
    seconds: float | None
    """None: no reaction was seen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=540.0, help="for all rows together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--row", choices=["burst", "pressure"], help="one of them alone; pause and shed are one")
    parser.add_argument("--scratch", default="/var/tmp", help="where to make the files: on a disk")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    rows = [chosen.row] if chosen.row else ["burst", "pressure"]
    for row in rows:
        chance = random.Random(f"{chosen.seed} {row}")
        began_s = time.monotonic()
        until_s = began_s + chosen.seconds / len(rows)
        with tempfile.TemporaryDirectory(prefix="imgoptd-bench-", dir=chosen.scratch) as scratch:
            make = bursts if row == "burst" else pressures
            try:
                rounds = list(make(Path(scratch), chance, until_s))
            except Unable as error:
                print(f"{row}: not run here: {error}")
                continue
        tell(rounds, chosen.seed, time.monotonic() - began_s)


def tell(rounds: list[Round], seed: int, seconds: float) -> None:
    """Add the rounds up and print their table."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made = []
    for row in dict.fromkeys(one.row for one in rounds):
        took = [one.seconds for one in rounds if one.row == row]
        late = [
            f"round {number}: {'no reaction' if one is None else f'{one:.3f} s'}"
            for number, one in enumerate(took, 1)
            if one is None or one > LIMITS_S[row]
        ]
        figures = {"reaction": spread([one for one in took if one is not None])}
        made.append(results.Result(row, when, seed, len(took), len(late), late[:5], figures, round(seconds, 1)))
    for result in made:
        results.append(FILE, result)
    print(results.table(made, results.read(FILE), ASKS), flush=True)


def spread(seconds: list[float]) -> str:
    if not seconds:
        return "never"
    ordered = sorted(seconds)
    at = {share: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.95, 0.99)}
    return f"median {at[0.5]:.0f} ms, p95 {at[0.95]:.0f} ms, p99 {at[0.99]:.0f} ms, most {ordered[-1] * 1000:.0f} ms"


# ---- a daemon -------------------------------------------------------------------------------------------------------


class Running:
    """A daemon, what it logs with the moment it was read, and what it says of its state."""

    def __init__(self, scratch: Path, where: Group | None) -> None:
        self.watched = scratch / "watched"
        self.watched.mkdir(exist_ok=True)
        config = scratch / "imgoptd.toml"
        control = scratch / "control.sock"
        config.write_text(
            f'[daemon]\nstate_dir = "{scratch}/state"\ncontrol = "{control}"\nlog = "json"\n'
            f'[workers]\nmax = 3\n[[watch]]\npath = "{self.watched}"\n'
        )
        self.log: deque[tuple[float, dict[str, str]]] = deque(maxlen=10_000)
        self.process = subprocess.Popen(
            [Path(sys.executable).parent / "imgoptd", "--config", config],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            preexec_fn=where.enter if where else None,
        )
        threading.Thread(target=self._read_log, daemon=True).start()
        self._client = Client(str(control))

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append((time.monotonic(), json.loads(line)))
            except ValueError:
                print(os.fsdecode(line), end="", file=sys.stderr)

    def logged(self, event: str, since_s: float) -> float | None:
        """When the first event of that kind after a moment was read (monotonic)."""
        found = (when_s for when_s, fields in list(self.log) if fields.get("IMGOPTD_EVENT") == event)
        return next((when_s for when_s in found if when_s >= since_s), None)

    def until_logged(self, event: str, since_s: float, within_s: float) -> float | None:
        end_s = time.monotonic() + within_s
        while (when_s := self.logged(event, since_s)) is None and time.monotonic() < end_s:
            time.sleep(0.002)
        return when_s

    def state(self) -> str:
        """Of its scaling; empty while it does not answer."""
        try:
            return str(self._client.status()["scaling"]["state"])
        except ControlFailure:
            return ""

    def jobs(self) -> int:
        try:
            return int(self._client.status()["backlog"]["jobs"])
        except ControlFailure:
            return 0


@contextmanager
def running(scratch: Path, where: Group | None = None) -> Iterator[Running]:
    daemon = Running(scratch, where)
    try:
        if daemon.until_logged("start", 0.0, 30.0) is None:
            raise RuntimeError("the daemon did not start")
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.wait()


def plant(folder: Path, name: str, picture: bytes, number: int) -> None:
    """A PNG of a content of its own, complete at once."""
    text = tests.images.chunk(b"tEXt", b"Comment\0%d" % number)
    (folder / f".{name}.part").write_bytes(tests.images.with_chunks(picture, before=text))
    (folder / f".{name}.part").rename(folder / f"{name}.png")


# ---- burst ----------------------------------------------------------------------------------------------------------


def bursts(scratch: Path, chance: random.Random, until_s: float) -> Iterator[Round]:
    """Each round is a daemon that has nothing to do, and no worker."""
    picture = tests.images.png(tests.images.photo(320, 240, chance.randrange(1 << 20)))
    number = 0
    while time.monotonic() < until_s:
        with running(scratch) as daemon:
            time.sleep(chance.uniform(0.3, 0.8))
            files = chance.choice((1, 10, 100, 400))
            began_s = 0.0
            for _ in range(files):
                number += 1
                plant(daemon.watched, f"burst-{number}", picture, number)
                began_s = began_s or time.monotonic()
            decided_s = daemon.until_logged("scale", began_s, 5.0)
        yield Round("burst", None if decided_s is None else decided_s - began_s)
        for path in daemon.watched.iterdir():
            path.unlink()


# ---- pressure -------------------------------------------------------------------------------------------------------


class Stalls:
    """The count of stalls in a group, looked at every few milliseconds."""

    def __init__(self, where: Group) -> None:
        self._file = where.pressure
        self._seen = deque([(time.monotonic(), self.total_us())])
        self.rose_s: float | None = None
        """When the count was first seen to have risen by a millisecond."""
        self.severe_s: float | None = None
        """When it first made up a fifth of a second."""

    def total_us(self) -> int:
        return int(self._file.read_text().partition("total=")[2].split()[0])

    def look(self) -> None:
        now_s, total = time.monotonic(), self.total_us()
        if self.rose_s is None and total - self._seen[0][1] >= 1000:
            self.rose_s = now_s
        while len(self._seen) > 1 and now_s - self._seen[1][0] >= 1.0:
            self._seen.popleft()
        self._seen.append((now_s, total))
        if self.severe_s is None and total - self._seen[0][1] > SEVERE * 1e6:
            self.severe_s = now_s


def pressures(scratch: Path, chance: random.Random, until_s: float) -> Iterator[Round]:
    """One daemon at work for all rounds, with the readers in its group."""
    pictures = [tests.images.png(tests.images.photo(1600, 1200, chance.randrange(1 << 20))) for _ in range(3)]
    with (
        group(GROUP_BYTES) as where,
        readers(where, scratch, READERS, GROUP_BYTES) as pressing,
        running(scratch, where) as daemon,
    ):
        number = 0
        while time.monotonic() < until_s:
            for _ in range(max(0, WAITING_JOBS - daemon.jobs())):
                number += 1
                plant(daemon.watched, f"work-{number}", chance.choice(pictures), number)
            if not calm(daemon):
                print("the daemon has not come to work again", file=sys.stderr)
                yield Round("pause", None)
                return
            time.sleep(chance.uniform(0.5, 1.5))
            yield from pressure(daemon, where, pressing)


def calm(daemon: Running) -> bool:
    """Wait until jobs are given out."""
    end_s = time.monotonic() + CALM_S
    while daemon.state() in ("pause", "shed", ""):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def pressure(daemon: Running, where: Group, pressing: Readers) -> Iterator[Round]:
    """One round: press until both reactions were seen, or the time is over."""
    stalls = Stalls(where)
    paused_s: float | None = None
    shed_s: float | None = None
    pressing.go()
    began_s = asked_s = time.monotonic()
    while time.monotonic() < began_s + PRESSED_S and shed_s is None:
        stalls.look()
        if time.monotonic() - asked_s >= 0.01:
            state, asked_s = daemon.state(), time.monotonic()
            if paused_s is None and state in ("pause", "shed"):
                paused_s = asked_s
            if state == "shed":
                shed_s = asked_s
        time.sleep(0.002)
    pressing.rest()
    if stalls.rose_s is not None:
        yield Round("pause", None if paused_s is None else max(0.0, paused_s - stalls.rose_s))
    if stalls.severe_s is not None:
        yield Round("shed", None if shed_s is None else max(0.0, shed_s - stalls.severe_s))


if __name__ == "__main__":
    main()
