"""From a configuration to what the engine needs to know of it."""

from __future__ import annotations

from imgoptd.adapters.sensors import Limits
from imgoptd.config.schema import Config, MemoryBudget
from imgoptd.core.events import Configured
from imgoptd.core.policy import FolderPolicy


def configured(config: Config, generation: int, limits: Limits, *, once: bool = False) -> Configured:
    """`once`: what stands in the folders is new whatever `existing` says, and nothing is waited for without end."""
    folders = tuple(
        FolderPolicy(
            watch.path,
            watch.settle_s,
            watch.priority,
            optimize_existing=once or watch.existing == "optimize",
            settings=watch.settings,
            part_hard_links=watch.hard_links == "part",
            output=watch.output,
        )
        for watch in config.watches
    )
    workers = config.workers
    most = workers.max or limits.cpus
    return Configured(
        generation,
        folders,
        min(workers.min, most),
        most,
        workers.job_timeout_s,
        budget_bytes(workers.memory_budget, limits),
        undo_max_bytes=config.undo.max_size_bytes,
        patient=not once,
    )


def budget_bytes(budget: MemoryBudget, limits: Limits) -> int | None:
    """What all workers together may hold; None: no bound but the machine's own."""
    if budget.bytes is not None:
        return budget.bytes
    if budget.fraction is not None and limits.memory_bytes is not None:
        return int(budget.fraction * limits.memory_bytes)
    return None
