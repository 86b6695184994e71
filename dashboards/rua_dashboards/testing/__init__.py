"""What proves boards without a Grafana server: the plugin's macros, and what a panel needs of a frame.

Used by the tests here and by those of whoever adds a board. Nothing of it runs in production.
"""
