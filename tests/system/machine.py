"""A real systemd as PID 1, over a throw-away overlay of this machine's root: boots in a second, downloads nothing.

All mounts and processes live in namespaces of their own, whose first process dies with the test run: nothing goes on
behind us, whatever happens. The real /tmp, /run and /etc are never touched.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(sys.prefix)

BOOT_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0

TOOLS = ("systemd-nspawn", "unshare", "nsenter", "setpriv", "mount")

# $1: scratch folder; $2: checkout; $3: name; the rest: cgroup folders to join. It is the first process of a namespace
# of processes and waits for nspawn: nspawn itself would outlive us. nspawn's own filter would refuse Landlock.
LAUNCHER = """
set -e
scratch=$1 checkout=$2 name=$3
shift 3
for group do echo 0 >"$group/cgroup.procs"; done
mount -t tmpfs -o size=1g,mode=755 tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$scratch/root"
above=$checkout
until [ "$above" = / ]; do # the service's user must get to it, whatever these folders allow outside
    above=$(dirname "$above")
    mkdir -p "$scratch/root$above"
    chmod a+x "$scratch/root$above"
done
systemd-nspawn --quiet --register=no --keep-unit --boot --private-network \
    --machine="$name" --directory="$scratch/root" --bind-ro="$checkout" \
    --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" \
    systemd.unit=basic.target
exit # so that the shell does not turn into nspawn
"""
NAMESPACES = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")


class CannotBoot(Exception):
    """This machine cannot run a systemd for us; the sentence says why."""


def why_not() -> str:
    """The reason why this machine cannot boot one, or an empty string."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if not Path("/lib/systemd/systemd").exists():
        return "not installed: systemd"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlay filesystem"
    return ""


class Machine:
    """One booted systemd. `root` is its root folder, seen from here."""

    def __init__(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="imgoptd-machine-", dir="/var/tmp"))
        self._console = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the machine is
        name = f"imgoptd-machine-{os.getpid()}"
        self._groups = _make_cgroups(name)
        arguments = [str(self._scratch), str(CHECKOUT), name, *map(str, self._groups)]
        command = ["setpriv", "--pdeathsig", "KILL", "--", *NAMESPACES, "sh", "-c", LAUNCHER, "sh", *arguments]
        self._launcher = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._console, stderr=self._console, start_new_session=True
        )
        self._leader = 0
        try:
            self._wait_until_booted()
        except BaseException:
            self.close()
            raise
        self.root = Path(f"/proc/{self._leader}/root")

    def run(self, *command: str, check: bool = True, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a command inside; its output, standard error included. With `check`, a failure raises and shows it."""
        result = self.attempt(*command, timeout_s=timeout_s)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}")
        return result.stdout

    def attempt(self, *command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run a command inside, whatever its exit status."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        # --root: where we run in a changed root ourselves, that of the namespace of mounts is another one.
        enter = ["nsenter", "--target", str(self._leader), "--all", "--root", "--wd"]
        inside = [*enter, "--", "env", "-i", path, "LC_ALL=C.UTF-8"]
        return subprocess.run(
            [*inside, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def close(self) -> None:
        """Power off, or pull the plug; then nothing of it is left."""
        if self._leader and self._launcher.poll() is None:
            os.kill(self._leader, signal.SIGRTMIN + 4)  # poweroff.target
            try:
                self._launcher.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.kill(self._leader, signal.SIGKILL)
        if self._launcher.poll() is None:
            self._launcher.kill()
        self._launcher.wait()
        self._console.close()
        for group in self._groups:
            _remove_cgroup(group)
        self._scratch.rmdir()

    def _wait_until_booted(self) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        state = "not found among the processes"
        while time.monotonic() < deadline:
            if self._launcher.poll() is not None:
                raise CannotBoot(f"systemd-nspawn ended with {self._launcher.returncode}{self._last_words()}")
            self._leader = self._leader or _find_systemd(self._launcher.pid)
            if self._leader:
                state = _last_line(self.attempt("systemctl", "is-system-running").stdout)
                if state in ("running", "degraded"):
                    return
            time.sleep(0.05)
        raise CannotBoot(f"systemd did not come up in {BOOT_TIMEOUT_S:.0f} s ({state}){self._last_words()}")

    def _last_words(self) -> str:
        self._console.seek(0)
        line = _last_line(self._console.read().decode(errors="replace"))
        return f"; last on its console: {line}" if line else ""


def _last_line(text: str) -> str:
    """The last line that says something, short and without what colours it on a terminal."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = ["".join(filter(str.isprintable, line)).strip() for line in plain.splitlines()]
    return next((line[:120] for line in reversed(lines) if line), "")


def _find_systemd(ancestor: int) -> int:
    """The systemd among the descendants of a process; 0 when there is none yet."""
    for child in _children(ancestor):
        try:
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return child
        except FileNotFoundError:
            continue
        found = _find_systemd(child)
        if found:
            return found
    return 0


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _make_cgroups(name: str) -> list[Path]:
    """A cgroup of its own below ours in each hierarchy that the systemd inside manages: it makes none elsewhere."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        ours[controllers] = path
    groups = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        below = ours.get("") if kind == "cgroup2" else None
        if kind == "cgroup":
            wanted = {"memory", "name=systemd"}.intersection(options.split(","))
            below = ours.get(wanted.pop()) if wanted else None
        if below is not None:
            group = Path(point + below) / name
            group.mkdir()
            groups.append(group)
    return groups


def _remove_cgroup(group: Path) -> None:
    """Remove it and all below; it empties a moment after its last process was waited for."""
    deadline = time.monotonic() + 10
    while True:
        try:
            for folder, _, _ in os.walk(group, topdown=False):
                os.rmdir(folder)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
