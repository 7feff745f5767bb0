"""Names and other text of a model: whether they are text at all.

protobuf reads a string that is no UTF-8 as bytes, and refuses to write it again.
"""

from __future__ import annotations

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ingot.errors import ModelError


def check_text(proto: onnx.ModelProto, name: str) -> None:
    """Checks that all text of a model is UTF-8.

    Args:
        proto: The model.
        name: What to call it in messages.

    Raises:
        ModelError: Something is not; says what.
    """
    waiting: list[Message] = [proto]
    while waiting:
        message = waiting.pop()
        if isinstance(message, onnx.TensorProto):
            # Listing its fields would copy its data.
            _check(message.name, "TensorProto.name", name)
            waiting += message.external_data
            continue
        for field, value in message.ListFields():
            several = not isinstance(value, (str, bytes)) and hasattr(value, "__len__")
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                waiting += value if several else [value]
            elif field.type == FieldDescriptor.TYPE_STRING:
                for text in value if several else [value]:
                    _check(text, f"{message.DESCRIPTOR.name}.{field.name}", name)


def _check(text: str | bytes, place: str, name: str) -> None:
    if isinstance(text, bytes):
        raise ModelError(f"{name} is damaged: {text[:100]!r}, the text of a {place}, is no UTF-8")
