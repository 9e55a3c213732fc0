"""Replacing a file by a smaller one, so that at no moment, and after no crash, content of the user's is lost.

`open_job` → (a worker writes) → `prepare` → (the intent is made durable) → `exchange`; `recover` after a crash.
"""

from imgoptd.adapters.replace.exchanging import Materialised, Placed, exchange
from imgoptd.adapters.replace.failures import UNFINISHED, Refused, ReplaceError
from imgoptd.adapters.replace.opening import OpenJob, open_input, open_job
from imgoptd.adapters.replace.preparing import PreparedResult, prepare, prepare_keeping
from imgoptd.adapters.replace.recovery import Recovery, recover

__all__ = [
    "UNFINISHED",
    "Materialised",
    "OpenJob",
    "Placed",
    "PreparedResult",
    "Recovery",
    "Refused",
    "ReplaceError",
    "exchange",
    "open_input",
    "open_job",
    "prepare",
    "prepare_keeping",
    "recover",
]
