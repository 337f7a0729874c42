"""The guard of the local page: only its own name and pages, bodies of a bounded size, few uploads at a time."""

from __future__ import annotations

import asyncio

import pytest

from oamn_plugin.search import guard as module
from oamn_plugin.search.guard import Guard


def scope(path="/", method="GET", kind="http", **headers):
    names = {"host": "localhost:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    pairs = [(name.encode(), value.encode()) for name, value in names.items()]
    return {"type": kind, "path": path, "method": method, "headers": pairs}


class Page:
    """Reads the whole body, counts how many do so at once, and answers 200."""

    def __init__(self) -> None:
        self.now = self.most = self.calls = 0

    async def __call__(self, scope, receive, send):
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            while (await receive()).get("more_body"):
                await asyncio.sleep(0)
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.now -= 1


async def ask(guard, one, chunks=1, size=10):
    left, sent = [chunks], []

    async def receive():
        await asyncio.sleep(0)
        left[0] -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left[0] > 0}

    async def send(message):
        sent.append(message)

    await guard(one, receive, send)
    return next((message.get("status", message["type"]) for message in sent), None)


def guard(page, **settings):
    return Guard(page, **{"names": ("localhost", "127.0.0.1", "[::1]"), "largest": 1000, **settings})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:7860"}, 200),
        ({"host": "LOCALHOST:7860"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:7860"}, 403),
        ({"host": "localhost.evil.example:7860"}, 403),
        ({"host": ""}, 403),
        ({"host": "192.0.2.7:7860"}, 403),
        ({"origin": "http://localhost:7860"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_foreign_names_and_pages_are_refused(headers, status):
    page = Page()
    assert asyncio.run(ask(guard(page), scope(**headers))) == status
    assert page.calls == (status == 200)


def test_addresses_in_numbers_are_answered_where_others_may_reach_the_page():
    page = Page()
    assert asyncio.run(ask(guard(page, addresses=True), scope(host="192.0.2.7:7860"))) == 200
    assert asyncio.run(ask(guard(page, addresses=True), scope(host="evil.example"))) == 403


def test_foreign_websockets_are_closed():
    assert asyncio.run(ask(guard(Page()), scope(kind="websocket", host="evil.example"))) == "websocket.close"


def test_large_bodies_are_refused_by_header_and_by_count():
    post = {"path": "/gradio_api/upload", "method": "POST"}
    assert asyncio.run(ask(guard(Page()), scope(**post, content_length="1001"))) == 413
    assert asyncio.run(ask(guard(Page()), scope(**post), chunks=20, size=100)) == 413
    assert asyncio.run(ask(guard(Page()), scope("/gradio_api/queue/join", "POST"), chunks=20, size=100)) == 413
    assert asyncio.run(ask(guard(Page()), scope(**post), chunks=10, size=100)) == 200


def test_fifty_uploads_at_once_are_read_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "UPLOADS", 3)
    monkeypatch.setattr(module, "WAITING", 20)
    page = Page()

    async def many():
        one = guard(page)
        return await asyncio.gather(*(ask(one, scope("/gradio_api/upload", "POST"), chunks=5) for _ in range(50)))

    found = asyncio.run(many())
    assert page.most == 3
    assert (found.count(200), found.count(503)) == (23, 27)
