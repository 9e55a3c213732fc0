"""Hearing between two readings that memory runs short: from the service manager, and from the kernel's own count."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from imgoptd.adapters import triggers
from imgoptd.adapters.sensors import Sensors
from imgoptd.core import events as e
from imgoptd.daemon.vigil import MUTED_S, Vigil


class NoWorkers:
    """Stands in for the pool."""

    template_pid = None

    def pids(self) -> dict[int, int]:
        return {}


class Watch:
    """A vigil on a made-up procfs, and what it posted."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.pressed(0)
        (proc / "self").mkdir()
        self.posted: list[e.Event] = []
        self._alerted = asyncio.Event()
        self.vigil = Vigil(self._post, Sensors(proc=str(proc)), NoWorkers())  # type: ignore[arg-type]

    def pressed(self, total_us: int) -> None:
        (self.proc / "pressure").mkdir(exist_ok=True)
        (self.proc / "pressure/memory").write_text(f"some avg10=0.00 avg60=0 avg300=0 total={total_us}\n")

    @property
    def alerts(self) -> list[str]:
        return [event.source for event in self.posted if isinstance(event, e.Alerted)]

    async def alerted(self) -> None:
        async with asyncio.timeout(20):
            await self._alerted.wait()

    async def heard(self, source: str) -> None:
        async with asyncio.timeout(20):
            while source not in self.alerts:
                self._alerted.clear()
                await self._alerted.wait()

    def _post(self, event: e.Event) -> None:
        self.posted.append(event)
        if isinstance(event, e.Alerted):
            self._alerted.set()


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.delenv(triggers.WATCH, raising=False)
    proc = tmp_path / "proc"
    proc.mkdir()
    return Watch(proc)


@pytest.fixture
def fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The writing end of what the service manager names."""
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv(triggers.WATCH, str(tmp_path / "fifo"))
    return os.open(tmp_path / "fifo", os.O_RDWR | os.O_NONBLOCK)


def test_a_rise_of_the_kernels_count_is_told_before_the_next_reading(watch: Watch) -> None:
    async def main() -> None:
        watch.vigil.sense()
        await asyncio.sleep(0.25)
        assert "pressure" not in watch.alerts  # the triggers are the machine's own, and may tell of others
        watch.pressed(10_000_000)
        await watch.heard("pressure")
        watch.vigil.close()

    asyncio.run(main())
    assert [type(event) for event in watch.posted].count(e.Sensed) == 1, "the engine decides when to read"


def test_the_null_device_switches_the_count_off_too(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(triggers.WATCH, "/dev/null")

    async def main() -> None:
        watch.vigil.sense()
        await asyncio.sleep(0.15)
        watch.pressed(10_000_000)
        await asyncio.sleep(0.3)
        watch.vigil.close()

    asyncio.run(main())
    assert watch.alerts == []
    assert "switched off" in watch.vigil.refused[0]


def test_a_swarm_of_what_the_service_manager_tells_is_passed_on_thinly(watch: Watch, fifo: int, tmp_path: Path) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        watch.vigil.sense()
        assert watch.vigil.senses == [f"{triggers.WATCH} {tmp_path}/fifo"]
        began_s = loop.time()
        for _ in range(200):
            os.write(fifo, b"!")
            await asyncio.sleep(0.001)
        await watch.alerted()
        took_s = loop.time() - began_s
        watch.vigil.close()
        os.write(fifo, b"!")
        await asyncio.sleep(0.05)
        return took_s

    took_s = asyncio.run(main())
    os.close(fifo)
    assert 1 <= len(watch.alerts) <= took_s / MUTED_S + 1
    assert watch.vigil.senses == []


def test_when_we_are_moved_to_another_group_triggers_are_armed_anew(watch: Watch, fifo: int) -> None:
    async def main() -> None:
        watch.vigil.sense()
        (watch.proc / "self/cgroup").write_text("0::/other\n")
        watch.vigil.sense()
        assert len(watch.vigil.senses) == 1
        os.write(fifo, b"!")
        await watch.alerted()
        watch.vigil.close()

    held = len(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert len(os.listdir("/proc/self/fd")) <= held + 2, "what was armed first was let go of"
    os.close(fifo)
