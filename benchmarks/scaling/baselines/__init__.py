"""How others decide how many work at once, each as its documentation and source say. By name, made for a trace.

Where those leave a choice it is made in their favour, and said: workers are as cheap as imgoptd's (kept, not one
process a job), a job goes to whoever idles first, what fails is tried again, and predictions are given to who asks for
them. The queue is first come, first served, as it is in all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.scaling.baselines.celery import CeleryPool
from benchmarks.scaling.baselines.dask import DaskPool
from benchmarks.scaling.baselines.hpa import HpaPool
from benchmarks.scaling.baselines.memfree import MemfreePool
from benchmarks.scaling.baselines.static import StaticPool
from benchmarks.scaling.policy import Pool
from benchmarks.scaling.trace import Trace

BASELINES: dict[str, Callable[[Trace], Pool]] = {
    "static": StaticPool,
    "celery": CeleryPool,
    "hpa": HpaPool,
    "memfree": MemfreePool,
    "dask": DaskPool,
}
