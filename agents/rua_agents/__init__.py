"""The agent: reads what a platform already logs, and sends events. It never hurts the platform."""
