"""``Dropout`` as it is when a model is used: nothing is dropped."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from ingot.errors import UnsupportedOperatorError

# Since this opset the mask says which elements stay.
_MASK_OF_TRUTHS = 12


def dropout(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``Dropout`` outside of training.

    Args:
        builder: The block builder to emit to.
        inputs: The data, the ratio, and whether the model is trained.
        attributes: None that matter.

    Returns:
        The data, and where it is asked for the mask: true everywhere.

    Raises:
        UnsupportedOperatorError: Elements are dropped at random, or may be.
    """
    data, ratio, training = (*inputs, None, None)[:3]
    if not (_is_constant(training, False) or _is_constant(ratio, 0.0)) and training is not None:
        raise UnsupportedOperatorError("dropout in training mode is random, and is not lowered")
    if attributes["tvm_custom"]["num_outputs"] == 1:
        return data
    if attributes["tvm_custom"].get("opset", _MASK_OF_TRUTHS) < _MASK_OF_TRUTHS:
        raise UnsupportedOperatorError("the mask of this opset is not defined outside of training")
    return relax.Tuple([data, builder.emit(relax.op.full_like(data, relax.const(True), "bool"))])


def _is_constant(value: Any, wanted: float) -> bool:
    return isinstance(value, tvm.ir.GenericConst) and bool(value.value.numpy() == wanted)
