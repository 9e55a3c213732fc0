"""The supervisor on simulated machines, beside pools that work by other rules: `python -m benchmarks.scaling`."""
