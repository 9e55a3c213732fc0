"""`python -m benchmarks.live_pools [--minutes N] [--seed N]`: the daemon against static pools where memory is short.

Each contestant works in a memory cgroup (v1) of 512 MiB, over a copy of the same large images, with the same codecs and
the same comparison: `imgoptd --once` with all its processes inside, and pools of 2 and of 8 processes (`static_pool`),
whose parent stays outside, all at the same niceness; the daemon is told to leave no CPU to others, as the pools do.
Each image fits alone, so that everybody can do it; of the largest no two fit together, and of the others two do.

A round fails when the daemon meets an OOM kill, leaves a file undone, or a pool that does all files is faster. Rounds
add up over runs in benchmarks/results/live_pools.jsonl, and with none failed of N the share that fails is below 3/N at
95 % (the rule of three). Needs root.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tests.images
from benchmarks import memory_group, runners
from benchmarks.memory_group import Group

LIMIT_BYTES = 512 << 20
RESULTS = Path(__file__).parent / "results" / "live_pools.jsonl"
TIMEOUT_S = 300.0
LARGEST_JPEGS, LARGE_JPEGS, PNGS, SMALL_JPEGS = 4, 6, 2, 12
MEGAPIXELS = {"largest": (27.0, 32.0), "large": (16.0, 24.0), "png": (1.0, 3.0), "small": (0.5, 3.0)}
SAMPLINGS = {"largest": (0,), "large": (0, 2), "small": (0, 2)}
"""Pillow's words for colours that are whole and halved both ways. A JPEG of 27 megapixels takes 235 MiB above an idle
worker where they are whole, one of 32 280; one of 24 takes 140 where they are halved (ARCHITECTURE.md, costs)."""

Contestant = Callable[[Path], dict[str, Any]]


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.live_pools", description="see the module")
    options.add_argument("--minutes", type=float, default=8.0, help="no round is begun that would not end by then")
    options.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options.add_argument("--scratch", type=Path, help="folder for the images (default: the temporary folder)")
    options.add_argument("--json", type=Path, default=RESULTS, help="where rounds are added, a line of JSON each")
    chosen = options.parse_args()
    try:
        with Group(LIMIT_BYTES):
            pass  # only whether there can be one
    except memory_group.Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    rounds = contest(chosen.seed, chosen.minutes * 60, chosen.scratch, chosen.json)
    print(verdict(rounds, "this run"))
    print(verdict([json.loads(line) for line in chosen.json.read_text().splitlines()], "all runs"))
    return 0 if not any(one["failed"] for one in rounds) else 1


def contest(seed: int, seconds: float, scratch: Path | None, results: Path) -> list[dict[str, Any]]:
    """Rounds until the time is up, at least one. Each is written down as it ends."""
    ends_s = time.monotonic() + seconds
    results.parent.mkdir(parents=True, exist_ok=True)
    told: list[dict[str, Any]] = []
    for number in itertools.count(seed):
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="imgoptd-bench-", dir=scratch) as base:
            told.append(one_round(number, Path(base)))
        with results.open("a") as file:
            file.write(json.dumps(told[-1]) + "\n")
        if 2 * time.monotonic() - began_s > ends_s:
            return told
    raise AssertionError("counting has no end")


def one_round(seed: int, base: Path) -> dict[str, Any]:
    source = base / "images"
    megapixels = make(source, seed)
    sizes = {path.name: path.stat().st_size for path in source.iterdir()}
    print(
        f"seed {seed}: {len(sizes)} images, {sum(megapixels):.0f} megapixels, the largest {max(megapixels):.1f}, "
        f"{sum(sizes.values()) / 1e6:.0f} MB"
    )
    order = list(CONTESTANTS)
    random.Random(seed).shuffle(order)  # whoever comes first finds other caches
    told: dict[str, dict[str, Any]] = {}
    for name in order:
        folder = base / "work"
        shutil.copytree(source, folder)
        told[name] = one = CONTESTANTS[name](folder)
        left = [path.name for path in folder.iterdir() if path.stat().st_size >= sizes.get(path.name, 0)]
        one["unfinished"] = len(left)
        shutil.rmtree(folder)
        print(
            f"  {name}: {one['wall_s']:.1f} s, {one['oom_kills']} OOM kills, {len(left)} unfinished"
            f"{' (' + ', '.join(sorted(left)) + ')' if left else ''}, peak {one['peak_bytes'] / 2**20:.0f} MiB "
            f"({one['peak_rss_bytes'] / 2**20:.0f} anonymous)"
        )
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}"
    whole = {"seed": seed, "images": len(sizes), "megapixels": sum(megapixels), "machine": machine}
    return whole | {"load": os.getloadavg()[0], "told": told, "failed": failure(told)}


def failure(told: dict[str, dict[str, Any]]) -> str:
    """What the daemon failed at; empty if nothing."""
    ours = told["imgoptd"]
    if ours["oom_kills"]:
        return "OOM kill"
    if ours["unfinished"]:
        return "unfinished"
    faster = [
        name
        for name, one in told.items()
        if not one["unfinished"] and not one["timeout"] and one["wall_s"] < ours["wall_s"]
    ]
    return f"slower than {', '.join(sorted(faster))}" if faster else ""


def verdict(rounds: Sequence[dict[str, Any]], what: str) -> str:
    failed = [one for one in rounds if one["failed"]]
    bound = f"below {3 / len(rounds):.2f} at 95 %" if not failed else "no bound"
    reasons = "".join(f"; seed {one['seed']}: {one['failed']}" for one in failed)
    return f"{what}: {len(rounds)} rounds, {len(failed)} failed, share that fails {bound}{reasons}"


# ---- images ---------------------------------------------------------------------------------------------------------


def make(folder: Path, seed: int) -> list[float]:
    """Images that can be made smaller, in no order of size by name. Returns their megapixels."""
    folder.mkdir()
    chance = random.Random(seed)
    kinds = ["largest"] * LARGEST_JPEGS + ["large"] * LARGE_JPEGS + ["png"] * PNGS + ["small"] * SMALL_JPEGS
    chance.shuffle(kinds)
    told = []
    for number, kind in enumerate(kinds):
        megapixels = chance.uniform(*MEGAPIXELS[kind])
        width = int((megapixels * 1e6 * 4 / 3) ** 0.5)
        # A quarter of its size in detail: noise of 24 megapixels takes seconds to make.
        picture = tests.images.photo(width // 2, width * 3 // 8, seed=seed * 1000 + number).resize(
            (width, width * 3 // 4)
        )
        if kind == "png":
            suffix, options = "PNG", {"compress_level": 1}
        else:
            suffix, options = "JPEG", {"quality": 90, "subsampling": chance.choice(SAMPLINGS[kind])}
        picture.save(folder / f"{number:03}.{'png' if kind == 'png' else 'jpg'}", suffix, **options)
        told.append(megapixels)
    return told


# ---- contestants ----------------------------------------------------------------------------------------------------


def daemon(folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="imgoptd-bench-") as base, Group(LIMIT_BYTES) as group:
        config = Path(base, "imgoptd.toml")
        config.write_text(runners.config(base, folder, processes=0, nice=0, least=len(os.sched_getaffinity(0))))
        command = group.entering([str(runners.PROGRAMS / "imgoptd"), "--config", str(config), "--once"])
        return _told(group, command, good=(0, 1))


def pool(processes: int) -> Contestant:
    def contestant(folder: Path) -> dict[str, Any]:
        with Group(LIMIT_BYTES) as group:
            command = [sys.executable, "-m", "benchmarks.static_pool", str(folder), str(processes), str(group.path)]
            return _told(group, command, good=(0,))

    return contestant


def _told(group: Group, command: list[str], good: Sequence[int]) -> dict[str, Any]:
    """Run to the end. Raises RuntimeError when it did not end well, without any kill to explain it."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    late = False
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        late = True
        process.terminate()
        output, _ = process.communicate()
    wall_s = time.monotonic() - began_s
    kills = group.oom_kills()
    if process.returncode not in good and not kills and not late:
        raise RuntimeError(f"{command} ended with {process.returncode}: {output[-2000:]}")
    return {
        "wall_s": wall_s,
        "oom_kills": kills,
        "peak_bytes": group.peak_bytes(),
        "peak_rss_bytes": group.peak_rss_bytes,
        "status": process.returncode,
        "timeout": late,
    }


CONTESTANTS: dict[str, Contestant] = {"imgoptd": daemon, "pool of 2": pool(2), "pool of 8": pool(8)}


if __name__ == "__main__":
    sys.exit(main())
