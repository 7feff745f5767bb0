"""No gRPC message, however wrong, is answered by chance or ends anything."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as messages

from tests.examples import examples
from tests.serving.running import Running

SHAPE = (1, 3, 16, 16)
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
INFER = "/inference.GRPCInferenceService/ModelInfer"
# What a caller's mistake may be answered with.
REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}
FUZZED = settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def channel(served: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as opened:
        yield opened


def ask(channel: grpc.Channel, request: bytes) -> messages.ModelInferResponse:
    call = channel.unary_unary(INFER)
    return messages.ModelInferResponse.FromString(call(request, timeout=30))


def message(**changes: object) -> messages.ModelInferRequest:
    request = messages.ModelInferRequest(model_name="small")
    tensor = request.inputs.add(name="image", datatype="FP32", shape=SHAPE)
    request.raw_input_contents.append(IMAGE.tobytes())
    for key, value in changes.items():
        if key == "shape":
            del tensor.shape[:]
            tensor.shape.extend(value)
        else:
            setattr(tensor, key, value)
    return request


def require_refused_or_right(channel: grpc.Channel, request: bytes) -> None:
    try:
        ask(channel, request)
    except grpc.RpcError as error:
        assert error.code() in REFUSED, (error.code(), error.details())
        assert "Traceback" not in (error.details() or "")
    answer = ask(channel, message().SerializeToString())
    assert len(answer.raw_output_contents[0]) == 40


@FUZZED
@given(at=st.integers(0, 4096), change=st.binary(min_size=1, max_size=4), cut=st.integers(0, 4096))
def test_changed_bytes(channel: grpc.Channel, at: int, change: bytes, cut: int) -> None:
    whole = bytearray(message().SerializeToString())
    at %= len(whole)
    whole[at : at + len(change)] = change
    require_refused_or_right(channel, bytes(whole[: len(whole) - cut % 64]))


@FUZZED
@given(
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 20), max_size=6),
    datatype=st.sampled_from(["FP32", "FP16", "BYTES", "INT64", "BOOL", "", "FP33"]),
)
def test_shapes_and_types(channel: grpc.Channel, shape: list[int], datatype: str) -> None:
    request = message(shape=shape, datatype=datatype)
    require_refused_or_right(channel, request.SerializeToString())


@FUZZED
@given(contents=st.lists(st.binary(max_size=64) | st.just(IMAGE.tobytes()), max_size=3))
def test_lengths_of_raw_contents(channel: grpc.Channel, contents: list[bytes]) -> None:
    request = message()
    del request.raw_input_contents[:]
    request.raw_input_contents.extend(contents)
    require_refused_or_right(channel, request.SerializeToString())


@FUZZED
@given(size=st.integers(-(2**63), 2**63 - 1), offset=st.integers(-(2**63), 2**63 - 1))
def test_regions_of_shared_memory_that_are_not_there(
    channel: grpc.Channel, size: int, offset: int
) -> None:
    request = message()
    del request.raw_input_contents[:]
    parameters = request.inputs[0].parameters
    parameters["shared_memory_region"].string_param = "nowhere"
    parameters["shared_memory_byte_size"].int64_param = size
    parameters["shared_memory_offset"].int64_param = offset
    require_refused_or_right(channel, request.SerializeToString())
