"""Bounds of a request that are checked before it is read as a whole."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2 * 2**20
"""Bytes of the body of a request at most."""


class BoundedBody:
    """ASGI middleware that refuses bodies over a limit, and holds no more of one in memory.

    Parameters
    ----------
    app
        What answers.
    limit
        Bytes.
    """

    def __init__(self, app: "ASGIApp", limit: int = MOST_BYTES) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > self._limit:
            await self._refuse(send)
            return
        read, refused = 0, False

        async def bounded() -> "Message":
            nonlocal read, refused
            message = await receive()
            read += len(message.get("body", b""))
            if read <= self._limit:
                return message
            if not refused:
                refused = True
                await self._refuse(send)
            return {"type": "http.disconnect"}  # for those who read it, the client is gone

        async def unless_refused(message: "Message") -> None:
            if not refused:
                await send(message)

        await self._app(scope, bounded, unless_refused)

    async def _refuse(self, send: "Send") -> None:
        sentence = (
            f"the body is over {self._limit:,} bytes; send fewer users, or shorter histories, at a time."
        )
        body = json.dumps({"error": "RequestTooLong", "message": sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
