"""One replace that keeps the original, in a process of its own that may be killed at a failpoint."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from imgoptd.core.model import Intent
from tests.replacing import PROJECT

_PROGRAM = """
import sys
from pathlib import Path
from imgoptd.adapters.look import ignore_lease_signals
from tests.replacing import refuse
from tests.undoing import keep
ignore_lease_signals()
root, state, *refusals = sys.argv[1:]
for what in refusals:
    refuse(what)
keep(Path(root), Path(state), saved=True)
"""


def in_process(root: Path, state: Path, *refusals: str, failpoint: str = "") -> tuple[int, list[Intent]]:
    """Its exit status, and the intents it made durable, in order."""
    command = [sys.executable, "-c", _PROGRAM, str(root), str(state), *refusals]
    environment = {**os.environ, "IMGOPTD_FAILPOINT": failpoint}
    done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, timeout=60)
    intents, rest = [], done.stdout
    while rest:
        size = int.from_bytes(rest[:4], "big")
        intents.append(pickle.loads(rest[4 : 4 + size]))
        rest = rest[4 + size :]
    return done.returncode, intents
