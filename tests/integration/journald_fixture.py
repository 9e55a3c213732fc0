"""A journald of our own: in a private mount namespace, so the machine's journal is neither needed nor touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

JOURNALD = "/lib/systemd/systemd-journald"
SOCKET = "/run/systemd/journal/socket"

START = """
set -e
mount --make-rprivate / 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/log/journal
exec "$0"
"""


class PrivateJournal:
    """A running journald: the path of its socket as seen from outside, and what it has written down."""

    def __init__(self, process: subprocess.Popen[bytes], in_user_namespace: bool) -> None:
        self._process = process
        user = ["-U", "--preserve-credentials"] if in_user_namespace else []
        # -r: where we run in a changed root ourselves, that of the namespace of mounts is another one.
        self.enter = ["nsenter", "-t", str(process.pid), *user, "-m", "-r", f"--wd={os.getcwd()}"]
        """Prefix of a command that is to run where this journald is the journald."""
        self.socket_path = f"/proc/{process.pid}/root{SOCKET}"

    def cannot_be_entered(self) -> str:
        """Why no command can be run where its socket is seen; an empty string where one can."""
        done = subprocess.run([*self.enter, "test", "-S", SOCKET], text=True, capture_output=True, timeout=20)
        if done.returncode == 0:
            return ""
        return (done.stderr.strip().splitlines() or [f"{SOCKET} is not seen there"])[-1]

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """Entries that match (`FIELD=value`), oldest first. A value that is no text is a list of its bytes."""
        self._run("journalctl", "--sync")
        shown = self._run("journalctl", "-o", "json", "--all", "--no-pager", *matches)
        return [json.loads(line) for line in shown.splitlines()]

    def sleep(self) -> None:
        """Stop journald from reading; its socket stays."""
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def remove_socket(self) -> None:
        os.unlink(self.socket_path)

    def _run(self, *command: str) -> str:
        done = subprocess.run([*self.enter, *command], check=True, text=True, capture_output=True, timeout=20)
        return done.stdout


@contextmanager
def private_journal() -> Iterator[PrivateJournal]:
    """Start a journald and end it again; skips the test, with the reason, where that cannot be done."""
    if not os.path.exists(JOURNALD) or not all(map(shutil.which, ("unshare", "nsenter", "journalctl"))):
        pytest.skip("no systemd-journald on this machine")
    in_user_namespace = os.geteuid() != 0
    namespaces = ["-Ur", "-m"] if in_user_namespace else ["-m"]
    process = subprocess.Popen(
        ["unshare", *namespaces, "sh", "-c", START, JOURNALD], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        journal = PrivateJournal(process, in_user_namespace)
        for _ in range(500):
            if os.path.exists(journal.socket_path):
                break
            if process.poll() is not None:
                pytest.skip("systemd-journald does not start here (no right to mount?)")
            time.sleep(0.01)
        else:
            pytest.skip("systemd-journald made no socket within 5 s")
        reason = journal.cannot_be_entered()
        if reason:
            pytest.skip(f"the mounts of a journald cannot be entered here: {reason}")
        yield journal
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(10)
