"""The daemon against a bare loop of the same codecs, in one run."""
