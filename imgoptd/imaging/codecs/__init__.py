"""One module a format. A new format is its module and a line in `imgoptd.imaging.registry`."""
