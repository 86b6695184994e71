"""For code that produces exports itself: how many rows, bytes and data subjects left, for whom, and where to.

    from rua_agents.sdk import export

    with export(dataset="orders", actor=user.id, merchant=shop.id, app="billing", destination=url) as e:
        for row in e.count(rows):
            write(row)

It never blocks and never fails the caller: a thread of its own hands what was counted to the agent on the same host.
Standard library only, Python 3.9 or newer.
"""

from rua_agents.sdk.client import configure, flush
from rua_agents.sdk.exporting import Export, export

__all__ = ["Export", "configure", "export", "flush"]
