"""Watched folders that go and come back: removed, renamed, replaced, unmounted, with files dropped meanwhile.

Many folders of one daemon at once. How long it takes until a folder is found again shows in the first step of a file
that was dropped as soon as it was back.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon, eventually
from tests.torture import material
from tests.torture.crowd import Actor, crowd
from tests.torture.ledger import Ledger
from tests.torture.report import Report, say

NAME = "roots"
ASKS = "a watched folder deleted, recreated, renamed, replaced, unmounted and mounted: found again in 5 s, 0 missed"

FOUND_S = 5.0
MISSED_S = 30.0
LONGEST_AWAY_S = 6.0
PLAIN_FOLDERS = 20
MOUNTED_FOLDERS = 4
LOOP_BYTES = 16 << 20


Search = Generator[float, None, bool]
"""Like an actor; brings back what was found."""


@dataclass(slots=True)
class Root:
    path: Path
    ledger: Ledger
    image: Path | None = None
    """Of the ext4 that is mounted here; None: a plain folder."""
    number: int = 0


@dataclass(slots=True)
class Circus:
    dice: random.Random
    report: Report
    seed: int
    ends_s: float
    limit: int | None
    longest_away_s: float
    found_s: list[float] = field(default_factory=list)
    made: Counter[str] = field(default_factory=Counter)
    begun: int = 0

    def rounds_in(self, root: Root) -> Actor:
        """One round after the other until the time is over."""
        tricks = MOUNTED if root.image else PLAIN
        while time.monotonic() < self.ends_s and self.begun != self.limit:
            self.begun += 1
            trick = self.dice.choice(sorted(tricks))
            yield from tricks[trick](self, root)
            if (yield from self._first_is_found(root, trick)):
                yield from self._no_file_is_missed(root, trick)
            self.made[trick] += 1
            self.report.rounds += 1
            yield self.dice.uniform(0, 1)

    def drop(self, root: Root, folder: Path | None = None) -> str:
        """A new picture, in `folder` where one is given; returns its name."""
        root.number += 1
        name = f"{root.number:05d}.jpg"
        (folder or root.path).joinpath(name).write_bytes(material.picture(self.dice, self.dice.getrandbits(60)))
        return name

    def drop_some(self, root: Root, folder: Path | None = None) -> None:
        for _ in range(self.dice.randint(0, 3)):
            self.drop(root, folder)

    def away_s(self) -> float:
        return self.dice.choice((0.0, 0.05, 0.5, self.longest_away_s)) * self.dice.random()

    def _first_is_found(self, root: Root, trick: str) -> Search:
        """True when it was."""
        back_ms = time.time() * 1000
        name = os.fsencode(self.drop(root))
        until_s = time.monotonic() + MISSED_S
        while (step_ms := root.ledger.first_step_ms(name)) is None and time.monotonic() < until_s:
            yield 0.2
        if step_ms is None:
            self.report.fail(f"seed {self.seed}, {trick}: {root.path.name} was not found again in {MISSED_S:g} s")
            return False
        took_s = (step_ms - back_ms) / 1000
        self.found_s.append(took_s)
        if took_s > FOUND_S:
            self.report.fail(f"seed {self.seed}, {trick}: {root.path.name} was found again after {took_s:.1f} s")
        return True

    def _no_file_is_missed(self, root: Root, trick: str) -> Actor:
        until_s = time.monotonic() + MISSED_S
        while (left := root.ledger.unfinished(_files(root.path))) and time.monotonic() < until_s:
            yield 0.3
        if left:
            self.report.fail(f"seed {self.seed}, {trick}: {root.path.name}: missed: {sorted(left)}")


# ---- tricks with plain folders --------------------------------------------------------------------------------------


def deleted_and_made_anew(circus: Circus, root: Root) -> Actor:
    circus.drop_some(root)
    shutil.rmtree(root.path, ignore_errors=True)  # a result may come to stand in it meanwhile
    while root.path.exists():
        shutil.rmtree(root.path, ignore_errors=True)
    yield circus.away_s()
    root.path.mkdir()
    circus.drop_some(root)


def renamed_away_and_back(circus: Circus, root: Root) -> Actor:
    away = root.path.with_name(f"away-{root.path.name}")
    circus.drop_some(root)
    root.path.rename(away)
    yield circus.away_s()
    circus.drop_some(root, away)
    away.rename(root.path)


def replaced_by_another(circus: Circus, root: Root) -> Actor:
    """Another folder with files of its own takes the place; the old one is removed."""
    other, away = (root.path.with_name(f"{word}-{root.path.name}") for word in ("other", "away"))
    other.mkdir()
    (other / "below").mkdir()
    circus.drop_some(root, other)
    circus.drop_some(root, other / "below")
    circus.drop_some(root)
    root.path.rename(away)
    yield circus.away_s()
    other.rename(root.path)
    yield circus.away_s() / 4
    shutil.rmtree(away)


# ---- tricks with filesystems ----------------------------------------------------------------------------------------


def unmounted_and_mounted(circus: Circus, root: Root) -> Actor:
    assert root.image is not None
    circus.drop_some(root)
    _command("umount", "--lazy", root.path)  # the daemon holds it open
    yield circus.away_s()
    _mount(root.image, root.path)


def covered_and_uncovered(circus: Circus, root: Root) -> Actor:
    """Another filesystem is mounted over it for a while, and files come into that one."""
    circus.drop_some(root)
    _command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", root.path)
    circus.drop_some(root)
    yield circus.away_s()
    _command("umount", "--lazy", root.path)


def files_while_unmounted(circus: Circus, root: Root) -> Actor:
    """Who drops files while the disk is away drops them into the bare folder: they are found when it is looked at."""
    assert root.image is not None
    _command("umount", "--lazy", root.path)
    yield circus.away_s()
    circus.drop_some(root)
    yield circus.away_s()
    _mount(root.image, root.path)


Trick = Callable[[Circus, Root], Actor]
PLAIN: dict[str, Trick] = {
    "deleted and made anew": deleted_and_made_anew,
    "renamed away and back": renamed_away_and_back,
    "replaced by another": replaced_by_another,
}
MOUNTED: dict[str, Trick] = {
    "unmounted and mounted": unmounted_and_mounted,
    "covered and uncovered": covered_and_uncovered,
    "files while unmounted": files_while_unmounted,
}


def run(seconds: float, seed: int, rounds: int | None = None) -> Report:
    report = Report()
    with Daemon() as daemon, _mounted(daemon) as mounted:
        plain = [daemon.base / "plain" / str(number) for number in range(PLAIN_FOLDERS)]
        for path in plain:
            path.mkdir(parents=True)
        paths = [*plain, *mounted]
        daemon.write_config(more="".join(f'[[watch]]\npath = "{path}"\nsettle = "100ms"\n' for path in paths))
        daemon.start()
        ends_s = time.monotonic() + max(seconds * 0.6, seconds - 10)
        circus = Circus(random.Random(seed), report, seed, ends_s, rounds, min(LONGEST_AWAY_S, seconds / 4))
        roots = [Root(path, Ledger(daemon, path), mounted.get(path)) for path in paths]
        actors = [circus.rounds_in(root) for root in roots]
        crowd(lambda: actors.pop() if actors else None, len(roots))
        eventually(daemon.answers, 30, "the daemon answers")
    found_s = sorted(circus.found_s)
    if found_s:
        middle, last = found_s[len(found_s) // 2], found_s[int(len(found_s) * 0.99)]
        report.figures["found again after"] = f"{middle:.2f} s (median), {last:.2f} s (p99), {found_s[-1]:.2f} s (max)"
    if not mounted:
        report.figures["mounting and unmounting"] = "not here: it needs root"
    report.figures |= {trick: f"{number} rounds" for trick, number in sorted(circus.made.items())}
    say(f"{NAME}: {report.rounds} rounds, {len(report.failures)} failures")
    return report


@contextmanager
def _mounted(daemon: Daemon) -> Iterator[dict[Path, Path]]:
    """Folders on filesystems of their own, with the image of each; none where nothing can be mounted."""
    mounted: dict[Path, Path] = {}
    try:
        for number in range(MOUNTED_FOLDERS if os.geteuid() == 0 else 0):
            path, image = daemon.base / "mounted" / str(number), daemon.base / f"{number}.ext4"
            path.mkdir(parents=True)
            with image.open("wb") as file:
                file.truncate(LOOP_BYTES)
            _command("mkfs.ext4", "-q", image)
            _mount(image, path)
            mounted[path] = image
        yield mounted
    finally:
        for path in mounted:
            while os.path.ismount(path):
                _command("umount", "--lazy", path)


def _mount(image: Path, path: Path) -> None:
    _command("mount", "-o", "loop", image, path)


def _command(*words: str | Path) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"{words[0]} failed: {done.stderr.decode(errors='replace').strip()}")


def _files(folder: Path) -> list[bytes]:
    """Every file below, by its path relative to the folder."""
    return [
        os.fsencode(Path(top, name).relative_to(folder))
        for top, folders, names in os.walk(folder)
        if "lost+found" not in Path(top).parts
        for name in names
        if not name.startswith(".imgoptd")
    ]
