"""Everything that may go wrong, many times: `./dev torture`."""
