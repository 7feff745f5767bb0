"""Requests as they come: what is wrong is said in one line, and costs nobody else anything."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import pytest
import zstandard

from tests.serving.running import Running

INFER = "/v2/models/small/infer"
SHAPE = [1, 3, 16, 16]
COUNT = 3 * 16 * 16


def image(**said: Any) -> dict[str, Any]:
    tensor = {"name": "image", "shape": SHAPE, "datatype": "FP32", "data": [0.5] * COUNT}
    return {"inputs": [{**tensor, **said}]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[1]", "has to be a JSON object"),
        ({}, "'inputs' has to be a list"),
        ({"inputs": [3]}, "an input has no name"),
        (image(shape=[1, 3, 16]), "elements"),
        (image(shape=[1, 3, 16, -16]), "size in its shape"),
        (image(shape="x"), "needs a shape"),
        (image(datatype="FP31"), "is none of BOOL"),
        (image(datatype="INT32"), "not values of INT32"),
        (image(datatype="FP64"), "image"),
        (image(data=[0.5] * 5), "elements, and 5 came"),
        (image(data=["x"] * COUNT), "not values of FP32"),
        (image(data=None), "has to be a list"),
        (image(parameters=3), "have to be an object"),
        (image(parameters={"binary_data_size": COUNT * 4}), "not within the body"),
        (image(parameters={"binary_data_size": -1}), "whole number"),
        ({"inputs": image()["inputs"] * 2}, "is there twice"),
        ({**image(), "id": 3}, "'id' has to be a string"),
        ({**image(), "parameters": {"priority": -1}}, "'priority' has to be"),
        ({**image(), "outputs": [{"name": "other"}]}, "no output is called 'other'"),
    ],
)
def test_what_is_wrong_is_said(served: Running, body: bytes | dict[str, Any], said: str) -> None:
    status, _, answer = served.ask("POST", INFER, body)
    assert status == 400
    assert said in json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"Inference-Header-Content-Length": "x"}, 400, "whole number"),
        ({"Inference-Header-Content-Length": "99999999"}, 400, "within the body"),
        ({"Content-Encoding": "br"}, 400, "none of gzip"),
        ({"Content-Encoding": "gzip"}, 400, "is not gzip"),
        ({"Content-Encoding": "zstd"}, 400, "is not zstd"),
    ],
)
def test_wrong_headers_are_refused(
    served: Running, headers: dict[str, str], status: int, said: str
) -> None:
    got, _, answer = served.ask("POST", INFER, image(), headers)
    assert got == status
    assert said in json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"0" * (64 << 20))),
        ("zstd", zstandard.compress(b"0" * (64 << 20))),
        ("identity", b"0" * (2 << 20)),
    ],
)
def test_bodies_are_bounded_however_they_come(
    served: Running, encoding: str, packed: bytes
) -> None:
    status, _, answer = served.ask("POST", INFER, packed, {"Content-Encoding": encoding})
    assert status == 413
    assert "exceeds the limit" in json.loads(answer)["error"]


def test_headers_are_bounded(served: Running) -> None:
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\n")
        answer = b""
        try:
            for _ in range(4096):
                connection.sendall(b"a: " + b"b" * 1000 + b"\r\n")
            answer = connection.recv(100)
        except OSError:
            return  # closed before all of it was sent
    assert b" 431 " in answer or not answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/small/versions/7", 404),
        ("POST", "/v2/models/small/versions/7/infer", 400),
        ("POST", "/v2/models/a/b/c/d/infer", 404),
        ("DELETE", "/v2", 405),
        ("GET", INFER, 404),
        ("HEAD", "/v2", 200),
        ("POST", "/v2/repository/models/../../etc/load", 404),
        ("POST", "/v2/repository/models/other/load", 404),
    ],
)
def test_paths(served: Running, method: str, path: str, status: int) -> None:
    assert served.ask(method, path)[0] == status


def test_answers_are_packed_for_who_takes_them(served: Running) -> None:
    many = {
        "name": "image",
        "shape": [24, 3, 16, 16],
        "datatype": "FP32",
        "data": [0] * (24 * COUNT),
    }
    status, headers, body = served.ask(
        "POST", INFER, {"inputs": [many]}, {"Accept-Encoding": "gzip;q=0.5, zstd"}
    )
    assert status == 200
    assert headers["content-encoding"] == "zstd"
    assert json.loads(zstandard.decompress(body))["outputs"][0]["shape"] == [24, 10]
