"""The configuration: its schema (frozen), how it is loaded, and what changed between two of them."""
