"""Leak tracing and incidents will live here: nothing yet."""
