"""The processes that touch image bytes: a fork server with the codecs loaded, and its sandboxed workers."""
