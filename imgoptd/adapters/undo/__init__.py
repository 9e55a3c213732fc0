"""Kept originals after the replace: put back to their paths, and removed with age.

`open_restore` → (the row that says "restored" is made durable) → `restore`; `recover_restore` after a crash.
"""

from imgoptd.adapters.undo.recovery import RestoreRecovery, recover_restore
from imgoptd.adapters.undo.restoring import NO_RENAME, OpenRestore, PutBack, open_restore, restore
from imgoptd.adapters.undo.sweeping import remove_kept

__all__ = [
    "NO_RENAME",
    "OpenRestore",
    "PutBack",
    "RestoreRecovery",
    "open_restore",
    "recover_restore",
    "remove_kept",
    "restore",
]
