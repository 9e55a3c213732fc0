"""The contestants. Each gets a fresh copy of the corpus and starts from nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measure

PROGRAMS = Path(sys.executable).parent
SETTLE = "10ms"
"""Quiet time given to the daemon: nobody writes to the corpus, and its waiting is no work."""
IDLE_S = 5.0

_CONFIG = """
[daemon]
state_dir = "{base}/state"
control = "{base}/control.sock"
log = "text"

[workers]
min = {least}
max = {processes}
nice = {nice}

[[watch]]
path = "{folder}"
existing = "optimize"
settle = "{settle}"
"""


def config(base: str, folder: Path, processes: int, nice: int = 10, least: int = 0) -> str:
    """Of a daemon that keeps its state below `base`; 0 processes: as many as there are CPUs, `least` at least."""
    return _CONFIG.format(base=base, folder=folder, processes=processes, least=least, nice=nice, settle=SETTLE)


def daemon(folder: Path, processes: int) -> measure.Effort:
    """`imgoptd --once` with a fresh state folder. Raises RuntimeError when it fails."""
    with tempfile.TemporaryDirectory(prefix="imgoptd-bench-") as base:
        file = Path(base, "imgoptd.toml")
        file.write_text(config(base, folder, processes))
        effort = measure.run([PROGRAMS / "imgoptd", "--config", file, "--once"])
    # 1: some file was quarantined or deferred, which a corpus may bring about; a crash of the interpreter says 1 too.
    if effort.status not in (0, 1) or "Traceback" in effort.errors:
        raise RuntimeError(f"imgoptd --once ended with {effort.status}: {effort.errors[-2000:]}")
    effort.extra["status"] = effort.status
    return effort


def bare(folder: Path, processes: int, *, verify: bool) -> measure.Effort:
    """The bare loop. Raises RuntimeError when it fails."""
    command = [sys.executable, "-m", "benchmarks.bare", os.fspath(folder), "--processes", str(processes)]
    effort = measure.run([*command, "--verify"] if verify else command)
    if effort.status:
        raise RuntimeError(f"the bare loop ended with {effort.status}: {effort.errors[-2000:]}")
    effort.extra |= json.loads(effort.output)
    return effort


def idle_memory() -> dict[str, int]:
    """PSS of a daemon that has nothing to do, alone and with its helper processes. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="imgoptd-bench-") as base:
        folder = Path(base, "watched")
        folder.mkdir()
        file = Path(base, "imgoptd.toml")
        file.write_text(config(base, folder, processes=2))
        command: list[str | Path] = [PROGRAMS / "imgoptd", "--config", file]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(IDLE_S)
            tree = measure.tree(process.pid)
            pss = [measure.pss_bytes(pid)[0] for pid in tree]
            if process.poll() is not None:
                raise RuntimeError(f"the idle daemon ended with {process.returncode}")
            return {"daemon_pss_bytes": pss[0], "tree_pss_bytes": sum(pss), "processes": len(tree)}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
