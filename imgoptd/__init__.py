"""imgoptd: a daemon that makes every image dropped into a watched folder as small as it can safely be."""

__version__ = "0.1.0"
