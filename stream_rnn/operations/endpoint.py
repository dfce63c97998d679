"""The HTTP endpoint: /metrics for Prometheus, /healthz and /readyz for a supervisor."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from stream_rnn.errors import TransportError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PATIENCE_S = 0.5
"""How long the end waits for a client that does not read or does not finish asking; aiohttp's is minutes."""

Check: TypeAlias = Callable[[], str]
"""Gives what is wrong; nothing when all is well."""


class Endpoint:
    """Answers three paths, on the event loop that serves the samples: no answer means it does not turn.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        token: What `Authorization: Bearer` must say to read the metrics; None for nothing. Nobody knows an
            empty one.
        metrics: Reads the numbers of /metrics; what it gives writes their text, in a thread of its own.
        healthy: For /healthz: what must be mended from outside.
        ready: For /readyz: why samples cannot come in now.
        report: Takes listening.

    Attributes:
        port: The port it listens on, once it does.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None,
        *,
        metrics: Callable[[], Callable[[], bytes]],
        healthy: Check,
        ready: Check,
        report: Callable[[str, str], None],
    ) -> None:
        self.port = port
        self._host, self._token, self._metrics, self._report = host, token, metrics, report
        self._listens = asyncio.Event()
        self._app = web.Application()
        self._app.router.add_get("/metrics", self._tell_metrics)
        self._app.router.add_get("/healthz", _checking(healthy))
        self._app.router.add_get("/readyz", _checking(ready))

    async def serve(self) -> None:
        """Answer until cancelled.

        Raises:
            TransportError: The port cannot be listened on.
        """
        runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=PATIENCE_S, lingering_time=PATIENCE_S
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self.port)
            try:
                await site.start()
            except OSError as error:
                reason = (error.strerror or str(error)).rpartition("): ")[2]
                raise TransportError(f"http {self._host}:{self.port}: cannot listen: {reason}") from None
            self.port = runner.addresses[0][1]
            self._report("listening", f"http {self._host}:{self.port}")
            self._listens.set()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def ready(self) -> None:
        """Wait until the port is listened on."""
        await self._listens.wait()

    async def _tell_metrics(self, request: web.Request) -> web.Response:
        if not self._may_read(request.headers.get("Authorization", "")):
            return web.json_response(
                {"error": "expected Authorization: Bearer with the token of [http]"},
                status=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        text = await asyncio.to_thread(self._metrics())
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    def _may_read(self, authorization: str) -> bool:
        if self._token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        if not self._token or scheme.lower() != "bearer":
            return False
        # aiohttp gives bytes that are no UTF-8 as surrogates, which encode() would refuse
        return hmac.compare_digest(given.strip().encode(errors="surrogateescape"), self._token.encode())


def _checking(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        if wrong:
            return web.json_response({"status": "no", "reason": wrong}, status=503)
        return web.json_response({"status": "ok"})

    return answer
