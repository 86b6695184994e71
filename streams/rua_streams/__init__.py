"""Faust workers: events in, alerts out, and events into the store. `docs/transport.md` says how."""
