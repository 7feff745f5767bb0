"""Tiny models that real workers load, and made-up results that pages are drawn from."""

import types

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.report.report import Report
from ingot.report.schema import Build, MetricFigures, NpuVariant, VariantReport


def save_classifier(path, *, classes=3, features=4, seed=0, noise=0.0, batch=1):
    """``y = x W``, [batch, features] -> [batch, classes], with seeded weights plus ``noise``."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(features, classes)).astype(np.float32)
    weights += np.float32(noise) * np.random.default_rng(seed + 1).normal(
        size=weights.shape
    ).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    return weights


@pytest.fixture
def make_classifier(tmp_path):
    """Makes an ``.onnx`` file of a classifier with the options of ``save_classifier``."""

    def make(name="made", **options):
        path = tmp_path / f"{name}.onnx"
        save_classifier(path, **options)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A folder of models and data that no test changes."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def classifier(tiny_folder):
    """An ``.onnx`` file of a linear classifier: 4 features, 3 classes."""
    path = tiny_folder / "classifier.onnx"
    save_classifier(path)
    return path


@pytest.fixture(scope="session")
def labelled_data(tiny_folder):
    """An ``.npz`` of 60 examples, of which the classifier gets 54 right."""
    x = np.random.default_rng(7).normal(size=(60, 4)).astype(np.float32)
    weights = save_classifier(tiny_folder / "labelling.onnx")
    y = (x @ weights).argmax(axis=1)
    y[:6] = (y[:6] + 1) % 3
    path = tiny_folder / "labelled.npz"
    np.savez(path, x=x, y=y)
    return path


def make_variant(name="ONNX Runtime fp32", engine="onnxruntime", **changes):
    """A variant's report with plausible figures, and ``changes`` to them."""
    median = changes.pop("median", 4.0)
    rng = np.random.default_rng(len(name))
    rounds = tuple(
        tuple(float(t) for t in median * np.exp(rng.normal(0, 0.05, 10))) for _ in range(10)
    )
    facts = {
        "name": name,
        "engine": engine,
        "engine_version": "1.2.3-4",
        "precision": "fp32",
        "size_bytes": 14_000_000,
        "load_seconds": 0.05,
        "latency": {
            "median": {"value": median, "low": 0.98 * median, "high": 1.02 * median},
            "p95": 1.1 * median,
            "p99": 1.2 * median,
            "runs": 100,
            "rounds": rounds,
            "warm_up_runs": 12,
            "stable": True,
        },
        "throughput": 1e3 / median,
        "speed": None,
        "memory": {"peak": 90_000_000, "baseline": 50_000_000},
        "metrics": (),
        "agreement": None,
        "build": None,
        "usage": {
            "cpu_percent": 187.0,
            "gpu_percent": None,
            "watts": 42.5,
            "joules_per_inference": 0.085,
            "power_source": "RAPL package-0, package-0 of the whole machine",
            "unavailable": {"gpu_percent": "no driver"},
        },
    }
    return VariantReport.model_validate({**facts, **changes})


def make_metric(value=79.0, difference=None, *, name="top-1", n=1300, **changes):
    """A metric's figures; ``difference`` is (value, low, high) or None for the reference."""
    facts = {
        "name": name,
        "unit": "%",
        "higher_is_better": True,
        "n": n,
        "value": {"value": value, "low": value - 2, "high": value + 2},
    }
    if difference is not None:
        middle, low, high = difference
        facts["difference"] = {"value": middle, "low": low, "high": high}
        facts["identical"] = n if difference == (0.0, 0.0, 0.0) else n - 7
    return MetricFigures.model_validate({**facts, **changes})


def make_build(**changes):
    """How an artifact came to be: one pass that fused, one that declined, one that idled."""

    def record(name, **more):
        plain = {
            "name": name,
            "seconds": 0.01,
            "applied": 0,
            "changed": False,
            "nodes_before": 20,
            "nodes_after": 20,
            "removed": [],
            "added": [],
            "changed_nodes": [],
            "op_delta": {},
            "initializer_bytes_before": 1000,
            "initializer_bytes_after": 1000,
            "declined": [],
        }
        return {**plain, **more}

    fused = record(
        "fusion.conv-batch-norm",
        applied=3,
        changed=True,
        nodes_after=17,
        removed=["bn<1>"],
        op_delta={"BatchNormalization": -3},
        check_seconds=0.02,
        check={
            "tolerance": "float rounding",
            "max_abs_error": 3e-7,
            "max_rel_error": 1e-7,
            "worst_tensor": "y",
        },
    )
    declined = record("fusion.pad", declined=[{"node": "pad_1", "reason": "it reflects"}])
    facts = {
        "seconds": 9.7,
        "stage_seconds": {"ingest": 0.5, "lower": 3.0},
        "recipe": {"name": "fp32"},
        "target": "cpu:mcpu=znver3",
        "placement": {"cpu": {"executor": "tvm", "nodes": 17}},
        "passes": [fused, declined, record("cleanup.dead-code")],
        "notes": ["the simplifier changed nothing"],
        "tools": {"ingot": "0.1.0"},
    }
    return Build.model_validate({**facts, **changes})


def make_npu_variant(name="Ingot int8 on ethos-u55-256", **estimate):
    """A model for an NPU that leaves one node to the CPU."""
    layer = {
        "name": "conv1",
        "operators": ["Conv2D", "Clamp"],
        "cycles": 9000,
        "npu_cycles": 8000,
        "macs": 512_000,
        "utilization": 0.22,
        "memory_cycles": {"Sram": 4000},
    }
    facts = {
        "source": "Vela 5.2.0",
        "accelerator": "ethos-u55-256",
        "system_configuration": "Ethos_U55_High_End_Embedded",
        "memory_mode": "Shared_Sram",
        "clock_hz": 500e6,
        "cycles": 12_345,
        "npu_cycles": 10_000,
        "macs": 600_000,
        "utilization": 0.19,
        "inferences_per_second": 40_502.2,
        "memories": {"Sram": {"peak": 51_000, "read": 700, "written": 300, "cycles": 90}},
        "layers": [layer, {**layer, "name": "fc<1>", "cycles": 100, "npu_cycles": 100}],
        "command_stream_bytes": 4000,
        "weight_bytes": 230_000,
        "share_of_macs": 0.987,
        "regions": 1,
        "borders": 2,
        "border_bytes": 3112,
        "left": [{"node": "odd", "operator": "Erf", "reason": "it is not between integers"}],
        **estimate,
    }
    agreement = {
        "examples": 1300,
        "source": "1,300 images of val",
        "exact": False,
        "finite": True,
        "max_abs_error": 0.2,
        "sqnr_db": 31.0,
        "worst_output": "y",
    }
    return NpuVariant.model_validate(
        {
            "name": name,
            "precision": "int8",
            "size_bytes": 400_000,
            "estimate": facts,
            "metrics": (make_metric(78.5, (-0.5, -1.0, 0.1)),),
            "agreement": agreement,
            "build": make_build(target="npu:ethos-u55-256"),
        }
    )


def make_report(**changes):
    """A report of ONNX Runtime and Ingot on labelled images."""
    reference = make_variant(metrics=(make_metric(),))
    ingot = make_variant(
        "Ingot fp32",
        "ingot",
        median=2.0,
        speed={"value": 2.0, "low": 1.9, "high": 2.1},
        metrics=(make_metric(79.0, (0.0, 0.0, 0.0)),),
        agreement={
            "examples": 1300,
            "source": "1,300 images of val",
            "exact": False,
            "finite": True,
            "max_abs_error": 2e-6,
            "sqnr_db": 130.0,
            "worst_output": "y",
        },
        build=make_build(),
    )
    sentence = "Ingot fp32 is 2.00x as fast as ONNX Runtime fp32."
    facts = {
        "ingot_version": "0.1.0",
        "created": "2026-11-22T10:00:00+00:00",
        "model": {
            "name": "net",
            "sha256": "ab" * 32,
            "size_bytes": 14_000_000,
            "opset": 17,
            "nodes": 20,
            "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 8, 8]}],
        },
        "data": {
            "description": "1,300 images of val",
            "sha256": "cd" * 32,
            "examples": 1300,
            "labelled": True,
        },
        "machine": {
            "cpu": "Imaginary 9000",
            "features": ["avx2"],
            "physical_cores": 2,
            "logical_cpus": 2,
            "memory_bytes": 8_000_000_000,
            "governor": None,
            "virtual": True,
            "system": "Linux",
            "python": "3.11.2",
            "versions": {"onnxruntime": "1.2.3"},
            "load_average": 0.1,
        },
        "measuring": {
            "threads": 2,
            "cpus": [0, 1],
            "batch": 1,
            "rounds": 10,
            "input_shapes": {"x": [1, 3, 8, 8]},
            "input_source": "1,300 images of val",
        },
        "reference": reference.name,
        "variants": (reference, ingot),
        "headline": sentence,
        "verdicts": (sentence,),
        "checks": (),
        "warnings": (),
    }
    return Report.model_validate({**facts, **changes})


@pytest.fixture(scope="session")
def figures():
    """The factories of made-up results: ``variant``, ``metric``, ``build``, ``npu``, ``report``."""
    return types.SimpleNamespace(
        variant=make_variant,
        metric=make_metric,
        build=make_build,
        npu=make_npu_variant,
        report=make_report,
    )
