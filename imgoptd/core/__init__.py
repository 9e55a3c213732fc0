"""Decisions, pure: no clock, file, process or thread may be imported here (import-linter holds it)."""
