"""Loads: what is measured is what was sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ingot.serving.load.capacity import capacity
from ingot.serving.load.connection import prepared
from ingot.serving.load.loops import Place, closed_loop, open_loop
from ingot.serving.load.outcomes import LoadOutcome


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        _Handler.count += 1
        status = 503 if _Handler.count % 10 == 0 else 200
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def place() -> Iterator[Place]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    _Handler.count = 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Place("127.0.0.1", server.server_port, prepared("x", "/", b"abc", {}))
    server.shutdown()
    server.server_close()


def test_a_closed_loop_counts_what_came_of_each(place: Place) -> None:
    outcome = closed_loop(place, 4, 0.3)
    assert outcome.sent == sum(outcome.statuses.values()) == _Handler.count
    assert outcome.lost == 0
    assert outcome.statuses[503] == _Handler.count // 10
    assert len(outcome.latencies) == outcome.answered == outcome.statuses[200]


def test_an_open_loop_sends_at_its_rate(place: Place) -> None:
    outcome = open_loop(place, 200, 1.0)
    assert abs(outcome.sent - 200) < 5 * np.sqrt(200)
    assert outcome.sent == sum(outcome.statuses.values())
    assert open_loop(place, 200, 0.2, seed=1).sent == open_loop(place, 200, 0.2, seed=1).sent


def test_an_answer_that_is_not_right_is_counted(place: Place) -> None:
    checked = Place(place.host, place.port, place.request, lambda body: body == b"no")
    outcome = closed_loop(checked, 1, 0.1)
    assert outcome.wrong == outcome.answered > 0


def test_a_server_that_is_gone_loses_requests() -> None:
    outcome = open_loop(Place("127.0.0.1", 9, prepared("x", "/", b"", {})), 50, 0.2)
    assert outcome.lost == outcome.sent > 0


@pytest.mark.parametrize("limit", [70.0, 1000.0, 4096.0])
def test_the_capacity_is_the_rate_that_just_holds(limit: float) -> None:
    def load(rate: float) -> LoadOutcome:
        seconds = 0.001 if rate <= limit else 1.0
        return LoadOutcome(1.0, 100, np.full(100, seconds), {200: 100}, 0)

    found = capacity(load, 0.01, 1000.0)
    assert limit / 1.07 <= found.rate <= limit


def test_a_server_that_falls_behind_does_not_take_the_load() -> None:
    def load(rate: float) -> LoadOutcome:
        slow = max(1.0, rate / 100.0)
        return LoadOutcome(slow, 100, np.full(100, 0.001), {200: 100}, 0, came=1.0)

    assert capacity(load, 0.01, 80.0).rate < 150


def test_what_is_refused_is_not_taken() -> None:
    refused = LoadOutcome(1.0, 100, np.full(50, 0.001), {200: 50, 503: 50}, 0)
    assert capacity(lambda _: refused, 0.01, 100.0).rate == 0
