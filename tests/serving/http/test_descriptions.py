"""What tools read: metrics and the OpenAPI description."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingot.serving.http.openapi import description
from tests.serving.running import Running

BODY: dict[str, Any] = {
    "inputs": [{"name": "image", "shape": [2, 3, 16, 16], "datatype": "FP32", "data": [0.0] * 1536}]
}


def samples(served: Running) -> dict[tuple[str, str], float]:
    status, headers, page = served.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, sample.labels.get("outcome", "")): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_metrics_count_requests_and_rows(served: Running) -> None:
    before = samples(served)
    served.ask("POST", "/v2/models/small/infer", BODY)
    after = samples(served)

    def more(name: str, outcome: str = "") -> float:
        return after[name, outcome] - before.get((name, outcome), 0.0)

    assert more("ingot_serve_requests_total", "success") == 1
    assert more("ingot_serve_batch_rows_total") == 2
    assert more("ingot_serve_batches_total") == 1
    assert more("ingot_serve_batch_seconds_total") > 0
    assert after["ingot_serve_requests_under_way", ""] == 0
    assert after["ingot_serve_resident_memory_bytes", ""] > 0


def test_the_description_is_served_as_it_is(served: Running) -> None:
    status, _, body = served.ask("GET", "/openapi.json")
    assert status == 200
    assert json.loads(body) == json.loads(json.dumps(description()))


@pytest.mark.parametrize("path", sorted(description()["paths"]))
def test_what_is_described_is_there(served: Running, path: str) -> None:
    for method in description()["paths"][path]:
        real = re.sub(r"\{version\}", "1", path.replace("{model}", "small"))
        if real.endswith("/unload"):
            continue  # other tests ask the model
        assert served.ask(method.upper(), real)[0] not in (404, 405, 500)
