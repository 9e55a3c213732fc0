"""The processes that touch the users' bytes: a template that forks, and the workers it forks."""

import os

# NumPy's OpenBLAS would start a thread a CPU at import; the template must have one thread alone to be forked safely.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
