"""What stands before the local page: who may ask, how much may come in, and how many uploads at a time.

A page on another site can have a browser send requests here: its own name may be made to point at this computer (DNS
rebinding), or it may post a form. Both give themselves away, by the header Host or Origin.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
UPLOADS, WAITING = 4, 32
"""Bodies that are read at a time, and how many more may wait."""
PATIENCE = 60.0
"""Seconds that an upload may take."""


class _TooLarge(Exception):  # noqa: N818 no error: how a body is left off
    pass


class Guard:
    """ASGI middleware that answers what is not meant for the page by itself.

    Args:
        app: the page.
        names: host names, without port, that it answers to.
        largest: bytes of a request's body.
        addresses: answer to any address in numbers too, which nobody can make point elsewhere.
    """

    def __init__(self, app: App, names: Iterable[str], largest: int, addresses: bool = False) -> None:
        self.app, self.names, self.largest, self.addresses = app, frozenset(names), largest, addresses
        self._free = asyncio.Semaphore(UPLOADS)
        self._queue = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        foreign, length = self._foreign(headers), headers.get("content-length", "")
        if foreign:
            await _refuse(scope, send, 403, foreign)
        elif scope["type"] == "websocket" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
        elif length.isdecimal() and int(length) > self.largest:
            await _refuse(scope, send, 413, f"at most {self.largest} bytes at a time")
        elif scope["path"].rstrip("/").endswith("/upload"):
            await self._upload(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    def _foreign(self, headers: dict[str, str]) -> str:
        """Why a request is not from this page; empty if it is."""
        name = host_name(headers.get("host", ""))
        if name not in self.names and not (self.addresses and _is_address(name)):
            return "this page does not answer to that name"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers["host"]:
            return "pages of other sites may not ask this one"
        return ""

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        if self._free.locked() and self._queue >= WAITING:
            await _refuse(scope, send, 503, "too many uploads at once: try again")
            return
        self._queue += 1
        try:
            await self._free.acquire()
        finally:
            self._queue -= 1
        try:
            await asyncio.wait_for(self._limited(scope, receive, send), PATIENCE)
        except asyncio.TimeoutError:
            pass  # the connection closes without an answer
        finally:
            self._free.release()

    async def _limited(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hands a request on; its body ends with an error where it becomes too large, whatever its header said."""
        came, answered = 0, False

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.largest:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except _TooLarge:
            if not answered:
                await _refuse(scope, send, 413, f"at most {self.largest} bytes at a time")


def host_name(host: str) -> str:
    """The name of a Host header, without its port.

    >>> host_name("localhost:7860"), host_name("[::1]:7860"), host_name("127.0.0.1")
    ('localhost', '[::1]', '127.0.0.1')
    """
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


async def _refuse(scope: Message, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    body = (reason + "\n").encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
               (b"connection", b"close")]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
