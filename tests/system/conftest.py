"""A booted machine for the whole run; on it, for each test, the installed service with nothing of an earlier test."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import another_user
from tests.system.machine import CHECKOUT, ENVIRONMENT, CannotBoot, Machine, why_not

PHOTOS = "/srv/photos"
MORE = "/srv/more"
CONFIG = "/etc/imgoptd/imgoptd.toml"
DROP_INS = "/etc/systemd/system/imgoptd.service.d"

WAIT_TIMEOUT_S = 60.0


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    another_user.rights(another_user.NOBODY)  # else the service's user could not run the checkout either
    try:
        booted = Machine()
    except CannotBoot as error:
        pytest.skip(f"no systemd could be booted: {error}")
    try:
        booted.run("sh", f"{CHECKOUT}/dev", "install", "--venv", str(ENVIRONMENT))
        yield booted
    finally:
        booted.close()


class Service:
    """The imgoptd service on the machine, as its administrator sees it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def path(self, inside: str) -> Path:
        """Where a path of the machine is reached from here."""
        return self.machine.root / inside.lstrip("/")

    def configure(self, *folders: str, extra: str = "") -> None:
        """Write the configuration: these folders watched, and whatever TOML is in `extra`."""
        watches = "".join(f'[[watch]]\npath = "{folder}"\nsettle = "100ms"\n' for folder in folders)
        self.path(CONFIG).write_text(f"{extra}\n{watches}")

    def drop_in(self, **settings: str) -> None:
        """Settings of [Service] beside those of the unit, as `systemctl edit` would write them."""
        # The program is run from the checkout, which may lie where the unit's PrivateTmp hides it.
        always = {"ReadWritePaths": f"{PHOTOS} {MORE}", "BindReadOnlyPaths": str(CHECKOUT)}
        lines = "".join(f"{key}={value}\n" for key, value in (always | settings).items())
        self.path(f"{DROP_INS}/test.conf").write_text(f"[Service]\n{lines}")
        self.systemctl("daemon-reload")

    def systemctl(self, verb: str, *arguments: str) -> str:
        """A verb on the unit; raises with systemd's words and the journal when it fails."""
        unit = [] if verb == "daemon-reload" else ["imgoptd.service"]
        result = self.machine.attempt("systemctl", verb, *arguments, *unit)
        if result.returncode != 0:
            raise AssertionError(f"systemctl {verb}: {result.stdout}\n{self.log()}")
        return result.stdout.strip()

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.systemctl("show", f"--property={name}", "--value")

    def process(self, pid: str | int) -> dict[str, str]:
        """What /proc/PID/status says."""
        lines = self.machine.run("cat", f"/proc/{pid}/status").splitlines()
        return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}

    def control(self, *arguments: str, as_user: str = "root") -> Any:
        """What `imgoptctl --json` answers."""
        return json.loads(self.machine.run("runuser", "-u", as_user, "--", "imgoptctl", *arguments, "--json"))

    def put(self, inside: str, data: bytes, uid: int = 1000, mode: int = 0o640) -> Path:
        """A file of some other user, whole from the first moment on: written elsewhere and moved in."""
        target = self.path(inside)
        draft = self.path(f"/srv/draft-{target.name}")
        draft.write_bytes(data)
        os.chown(draft, uid, uid)
        os.chmod(draft, mode)
        os.utime(draft, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
        draft.rename(target)
        return target

    def wait_for_file(self, inside: str) -> None:
        """Until the file is done or skipped."""
        result = self.machine.attempt("imgoptctl", "wait", "--timeout", "30", inside)
        if result.returncode != 0:
            raise AssertionError(f"wait {inside}: exit {result.returncode}\n{result.stdout}\n{self.log()}")

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """Journal entries of this invocation of the unit (or what `matches` says), oldest first."""
        self.machine.run("journalctl", "--sync")
        invocation = f"_SYSTEMD_INVOCATION_ID={self.show('InvocationID')}"
        text = self.machine.run("journalctl", "--output=json", "--all", "--no-pager", invocation, *matches)
        return [json.loads(line) for line in text.splitlines()]

    def log(self) -> str:
        return self.machine.attempt("journalctl", "--unit=imgoptd.service", "--no-pager", "--lines=40").stdout


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait until it happened; fail with `what` when it does not."""
    deadline = time.monotonic() + WAIT_TIMEOUT_S
    while not happened():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """Installed, configured to watch /srv/photos, not started."""
    for folder in (PHOTOS, MORE):
        machine.run("install", "-d", "-m", "2775", "-o", "1000", "-g", "1000", folder)
    machine.run("mkdir", "-p", DROP_INS)
    service = Service(machine)
    service.configure(PHOTOS)
    service.drop_in()
    try:
        yield service
    finally:
        machine.attempt("systemctl", "kill", "--signal=CONT", "imgoptd.service")
        machine.run("systemctl", "stop", "imgoptd.service")
        machine.attempt("systemctl", "reset-failed", "imgoptd.service")
        machine.run("sh", "-c", f"rm -rf {PHOTOS} {MORE} {DROP_INS} /var/lib/imgoptd")
