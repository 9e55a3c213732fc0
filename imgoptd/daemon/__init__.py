"""Wiring: the loop that turns events into commands, and everything that must exist once in a running daemon."""
