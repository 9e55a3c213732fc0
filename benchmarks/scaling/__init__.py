"""The supervisor on simulated machines, against pools that work by other rules. `python -m benchmarks.scaling --help`."""
