"""From a configuration to what the engine needs to know of it."""

from __future__ import annotations

from imgoptd.adapters.sensors import Limits
from imgoptd.config.schema import Config, MemoryBudget
from imgoptd.core.events import Configured, FolderPolicy


def configured(config: Config, generation: int, limits: Limits, *, all_is_new: bool = False) -> Configured:
    """`all_is_new`: what stands in the folders is optimised whatever `existing` says (`--once`)."""
    folders = tuple(
        FolderPolicy(
            watch.path, watch.settle_s, watch.priority, all_is_new or watch.existing == "optimize", watch.settings
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
    )


def budget_bytes(budget: MemoryBudget, limits: Limits) -> int | None:
    """What all workers together may hold; None: no bound but the machine's own."""
    if budget.bytes is not None:
        return budget.bytes
    if budget.fraction is not None and limits.memory_bytes is not None:
        return int(budget.fraction * limits.memory_bytes)
    return None
