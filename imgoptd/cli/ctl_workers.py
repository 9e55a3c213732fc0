"""A row for each worker: state, job, CPU, memory, jobs done, age."""

from __future__ import annotations

import argparse

from imgoptd.cli.client import Client
from imgoptd.cli.display import workers_table
from imgoptd.cli.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(client: Client, options: argparse.Namespace) -> int:
    workers = client.workers()
    show(workers, workers_table(workers), options.json)
    return 0
