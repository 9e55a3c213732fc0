"""From a configuration to what the engine needs to know of it."""

from __future__ import annotations

from imgoptd.config.schema import Config
from imgoptd.core.events import Configured
from imgoptd.core.policy import FolderPolicy


def configured(config: Config, generation: int, *, once: bool = False) -> Configured:
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
    return Configured(
        generation,
        folders,
        workers.min,
        workers.max,
        workers.job_timeout_s,
        workers.memory_budget.bytes,
        undo_max_bytes=config.undo.max_size_bytes,
        patient=not once,
        memory_budget_fraction=workers.memory_budget.fraction,
    )
