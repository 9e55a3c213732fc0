"""`imgoptd --check` on a folder that a test made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgoptd.config.load import loads
from imgoptd.config.schema import Config
from imgoptd.wire.findings import Finding, Level
from tests.another_user import NOBODY, run_as

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change users and mount in a namespace")

CHECK = "import sys; from imgoptd.cli.imgoptd import main; sys.exit(main(['--check', '--config', sys.argv[1]]))"


def write_config(home: Path, watch: str = "", daemon: str = "") -> Path:
    file = home / "imgoptd.toml"
    file.write_text(
        f'[daemon]\nstate_dir = "{home}/state"\ncontrol = "{home}/run/control.sock"\n{daemon}\n'
        f'[[watch]]\npath = "{home}/drop"\n{watch}\n'
    )
    return file


def config_of(home: Path) -> Config:
    return loads((home / "imgoptd.toml").read_text(), home / "imgoptd.toml")


def check(
    home: Path, *, inside: str = "", strace: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the check as a program of its own: with mounts of its own, or with failing system calls."""
    command = [sys.executable, "-c", CHECK, os.fspath(home / "imgoptd.toml")]
    if strace:
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", strace, *command]
    if inside:
        command = ["unshare", "-m", "sh", "-c", f'set -e; {inside}; exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={**os.environ, **(env or {})})
    if inside and "unshare:" in done.stderr:
        pytest.skip(f"no mounts of our own here: {done.stderr.strip()}")
    assert "Traceback" not in done.stderr, done.stderr
    return done


def checked_by_nobody(home: Path) -> str:
    """What the check prints when it is run by an unprivileged user."""
    done = run_as(NOBODY, CHECK, home / "imgoptd.toml")
    assert done.stdout and "Traceback" not in done.stderr, done.stderr
    return done.stdout


def about(findings: list[Finding], subject: str, level: Level) -> str:
    """All that was said of the subject at that level, with mends, in one text."""
    return "\n".join(
        f"{finding.sentence} -> {finding.mend}"
        for finding in findings
        if subject in finding.subject and finding.level is level
    )
