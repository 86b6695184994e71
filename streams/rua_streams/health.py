"""`/ready` and `/metrics`. Faust's own `/` always answers OK, so it says nothing."""

from __future__ import annotations

import asyncio

from aiohttp import web

from rua_streams.shell import BaseShell


class Http:
    """Answers on all interfaces, because a probe comes from outside of the pod."""

    def __init__(self, shell: BaseShell, port: int) -> None:
        self.shell, self.port = shell, port

    async def start(self) -> None:
        """Serves until the process ends."""
        app = web.Application()
        app.add_routes([web.get("/ready", self.ready), web.get("/metrics", self.metrics)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=self.port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def ready(self, _: web.Request) -> web.Response:
        """200 when every assigned partition is restored and none is paused."""
        status = self.shell.status()
        return web.json_response(status, status=200 if status["ready"] and not self.shell.paused else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus text format."""
        return web.Response(text=self.shell.metrics.text())
