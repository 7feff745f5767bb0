"""Letting one value stand for another, in every place where a graph may name it."""

from __future__ import annotations

import onnx_ir as ir


def can_forward(old: ir.Value, new: ir.Value) -> bool:
    """Whether ``new`` can take the place of ``old``.

    A graph's outputs keep their names and are computed by a node of that same graph. So an output
    can only be replaced by such a value, which takes over the output's name; not by an input, an
    initializer, a value of an outer graph, or a value that is an output already.
    """
    if not old.is_graph_output():
        return True
    producer = new.producer()
    return (
        producer is not None
        and not new.is_graph_output()
        and producer.graph is not None
        and producer.graph is old.graph
    )


def forward(old: ir.Value, new: ir.Value) -> None:
    """Makes every user of ``old``, in this graph and in subgraphs, read ``new`` instead.

    Args:
        old: A value that has an equal; its node is left for the caller to remove.
        new: The equal, for which :func:`can_forward` holds.
    """
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape
    if old.is_graph_output():
        name = old.name
        old.name = None
        new.name = name
        new.type = old.type or new.type
        new.shape = old.shape if old.shape is not None else new.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def is_used(value: ir.Value) -> bool:
    """Whether a node of any graph reads the value or a graph returns it."""
    return bool(value.uses()) or value.is_graph_output()
