"""Our messages are those of the protocol, as its official client has them."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from ingot.serving.grpc.schema import message, methods


def _fields(descriptor: Any) -> dict[str, tuple[int, int, bool]]:
    return {f.name: (f.number, f.type, f.is_repeated) for f in descriptor.fields}


@pytest.mark.parametrize("method", sorted(methods()))
def test_messages_have_the_names_numbers_and_types_of_the_protocol(method: str) -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    known = theirs.methods_by_name[method]
    request, response, streams = methods()[method]
    assert streams == known.client_streaming == known.server_streaming
    pairs = [(request.DESCRIPTOR, known.input_type), (response.DESCRIPTOR, known.output_type)]
    seen = set()
    while pairs:
        ours, official = pairs.pop()
        assert ours.full_name == official.full_name
        if ours.full_name in seen:
            continue
        seen.add(ours.full_name)
        mine, its = _fields(ours), _fields(official)
        assert mine.items() <= its.items()
        pairs += [
            (field.message_type, official.fields_by_name[field.name].message_type)
            for field in ours.fields
            if field.message_type is not None
        ]


def test_the_messages_are_not_in_the_pool_of_all_programs() -> None:
    assert message("ModelInferRequest") is not service_pb2.ModelInferRequest
    raw = message("ModelInferRequest")(model_name="m").SerializeToString()
    assert service_pb2.ModelInferRequest.FromString(raw).model_name == "m"
