"""One life of the process: mostly one run of the service, one more where its store was found damaged."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from pathlib import Path

from imgoptd.adapters.journald import Log
from imgoptd.adapters.store import StoreDamaged
from imgoptd.config.load import load
from imgoptd.config.schema import Config
from imgoptd.daemon.service import Service

QUICK_DAMAGES_MOST = 3
"""So often in a row the store may be damaged soon after it was opened; then the machine is not to be trusted."""
QUICK_S = 600.0


def run(config_path: Path, *, once: bool, make_log: Callable[[Config], Log] | None = None) -> int:
    """Load the configuration and run until told to stop. Raises ConfigError, StoreError, ControlSocketError."""
    config = load(config_path)
    _raise_descriptors()
    log = make_log(config) if make_log is not None else Log(config.daemon.log)
    try:
        return _run_and_heal(config, log, once)
    finally:
        log.close()


def _raise_descriptors() -> None:
    """As many as we may have: shells and containers give 1,024 to begin with, and 200 workers take that."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run_and_heal(config: Config, log: Log, once: bool) -> int:
    """A run that meets damage ends in order, nothing being replaced any more; the next one rebuilds the store."""
    quick = 0
    while True:
        service = Service(config, log, once=once)
        began_s = time.monotonic()
        try:
            return asyncio.run(_run(service))
        except StoreDamaged as damage:
            if service.stopping:
                log.say("store-damaged", f"{damage}; this is done at the next start", 2)
                return 1 if once else 0
            config = service.config
            quick = quick + 1 if time.monotonic() - began_s < QUICK_S else 1
            if quick > QUICK_DAMAGES_MOST:
                raise StoreDamaged(
                    f"the store was damaged {quick} times in a row ({damage}); "
                    "test the memory of this machine and the disk of state_dir, then start imgoptd again"
                ) from damage
            log.say("store-damaged", f"{damage}; this is done now, and the work goes on after it", 2)


async def _run(service: Service) -> int:
    try:
        return await service.run()
    except BaseExceptionGroup as group:
        damage = group.subgroup(StoreDamaged)
        # What prevents a start is raised within a task group, too; alone in it, it is told as itself.
        error: BaseException = damage if damage is not None else group
        while isinstance(error, BaseExceptionGroup) and (damage is not None or len(error.exceptions) == 1):
            error = error.exceptions[0]
        raise error from group
