"""Putting results into an output tree, the originals being left alone: the promises are those of `adapters.replace`.

`open_job` → (a worker writes) → `replace.prepare`, or `prepare_copy` → (the intent is made durable) → `place`; after a
crash `replace.recover` beneath the output tree: the intent names the same path there, and both inodes.
"""

from imgoptd.adapters.mirror.copying import prepare_copy
from imgoptd.adapters.mirror.opening import MirrorJob, open_job
from imgoptd.adapters.mirror.placing import place
from imgoptd.adapters.mirror.trees import is_empty, make_tree, open_tree

__all__ = ["MirrorJob", "is_empty", "make_tree", "open_job", "open_tree", "place", "prepare_copy"]
