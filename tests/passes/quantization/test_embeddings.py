"""Tables of embeddings in int8."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import QuantizeEmbeddings
from ingot.passes.quantization.embeddings import QuantizeEmbeddingsOptions
from tests.passes.quantization.networks import model, normal, sqnr

TABLE = normal(300, 16) * np.geomspace(0.01, 10, 300, dtype=np.float32)[:, None]
IDS = [{"ids": np.array([[0, 299, 17], [5, -1, 80]], np.int64)}]


def apply(network, smallest=1000):
    after = network.clone()
    outcome = QuantizeEmbeddings(QuantizeEmbeddingsOptions(smallest=smallest))(after)
    check_graph(after)
    check_operators(after)
    return after, outcome


def gathered(body="y = Gather(t, ids)", signature="(int64[2,3] ids) => (float[2,3,16] y)"):
    return model(signature, body, {"t": TABLE})


def test_rows_of_any_size_are_as_exact_as_eight_bits_make_them():
    network = gathered()
    after, outcome = apply(network)
    assert outcome.applied == 1
    assert sqnr(network, after, IDS) > 40
    small = [{"ids": np.zeros((2, 3), np.int64)}]
    assert sqnr(network, after, small) > 40


def test_the_table_takes_a_quarter_of_the_bytes_and_a_scale_per_row():
    after, _ = apply(gathered())
    sizes = {value.dtype: value.const_value.nbytes for value in after.graph.initializers.values()}
    assert sizes == {ir.DataType.INT8: 300 * 16, ir.DataType.FLOAT: 300 * 4}


def test_a_table_that_is_also_multiplied_is_left():
    network = gathered(
        "e = Gather(t, ids) p = Transpose<perm=[1,0]>(t) y = MatMul(e, p)",
        "(int64[2,3] ids) => (float[2,3,300] y)",
    )
    _, outcome = apply(network)
    assert outcome.applied == 0
    assert not outcome.modified


def test_a_table_gathered_along_its_columns_is_left_and_said_so():
    network = gathered("y = Gather<axis=1>(t, ids)", "(int64[2,3] ids) => (float[300,2,3] y)")
    _, outcome = apply(network)
    assert [declined.reason for declined in outcome.declined] == [
        "it is gathered along another axis"
    ]


def test_small_tables_are_left():
    _, outcome = apply(gathered(), smallest=10**6)
    assert not outcome.modified
