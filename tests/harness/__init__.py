"""A real daemon in a folder of its own, driven through its two programs alone."""

from tests.harness.daemon import Answer, Daemon
from tests.harness.folders import beneath, drop, eventually, found_images, mirroring, unique

__all__ = ["Answer", "Daemon", "beneath", "drop", "eventually", "found_images", "mirroring", "unique"]
