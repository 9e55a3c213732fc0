"""Compares a folder of images before and after, without a line of the product's code.

`snapshot` writes down everything that must survive: pixels, metadata, trailers, names, owners, times. `compare`
lists what did not. A file may differ only in its size and in how its pixels are encoded.
"""

from tests.checker.compare import Difference, compare
from tests.checker.content import ContentFacts, decoders, read_content
from tests.checker.files import FileFacts, snapshot

__all__ = ["ContentFacts", "Difference", "FileFacts", "compare", "decoders", "read_content", "snapshot"]
