"""Makes the bundled CIFAR-10 files from trained weights.

    python -m ingot.models.export_cifar10 --weights weights.npz

Takes what `ingot.models.train_cifar10` wrote, builds the ONNX graph without PyTorch, measures it
with ONNX Runtime on all 10,000 test images, draws the samples of the data, and writes model,
samples and a JSON file of facts. The same weights give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ingot.cached import seal
from ingot.data.preprocessing import METADATA_KEY
from ingot.errors import DataError
from ingot.files import cache_dir
from ingot.models.cifar10 import (
    BUNDLED,
    BUNDLED_CALIBRATION,
    BUNDLED_FACTS,
    BUNDLED_MODEL,
    BUNDLED_TEST,
    CIFAR10_CLASSES,
    CIFAR10_MEAN,
    CIFAR10_STD,
    IMAGE_SIZE,
    Images,
    Labels,
    fetch_cifar10,
    preprocess,
    save_sample,
)
from ingot.models.cifar_resnet import (
    BATCH_NORM_EPSILON,
    CLASSES,
    residual_blocks,
    weight_shapes,
)
from ingot.models.reference import CIFAR10_PREPROCESSING

log = logging.getLogger(__name__)

OPSET = 20
IR_VERSION = 10
SAMPLE_SEED = 2009
TEST_IMAGES_PER_CLASS = 100
CALIBRATION_IMAGES = 256

Weights = Mapping[str, npt.NDArray[np.float32]]


class _Graph:
    """Collects the nodes of the network; each tensor is named after the node that makes it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, name: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{name}.output"
        node = helper.make_node(operator, inputs, [output], name=name, **attributes)
        self.nodes.append(node)
        return output

    def conv_norm(self, x: str, name: str, kernel: int, stride: int = 1) -> str:
        x = self.add(
            "Conv",
            f"{name}.conv",
            [x, f"{name}.weight"],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
        )
        statistics = [f"{name}.{part}" for part in ("scale", "bias", "mean", "variance")]
        return self.add(
            "BatchNormalization", f"{name}.norm", [x, *statistics], epsilon=BATCH_NORM_EPSILON
        )


def build_model(weights: Weights) -> onnx.ModelProto:
    """Builds the network as ONNX, with its batch norms as nodes of their own.

    Args:
        weights: Every weight of `ingot.models.cifar_resnet.weight_shapes`, float32.

    Returns:
        A model with input ``image`` float32 [N, 3, 32, 32] (normalized by
        `ingot.models.cifar10.preprocess`) and output ``logits`` float32 [N, 10].

    Raises:
        DataError: A weight is missing, superfluous or has another shape.
    """
    found = {name: value.shape for name, value in weights.items()}
    if found != weight_shapes():
        differing = sorted(name for name, _ in found.items() ^ weight_shapes().items())
        raise DataError(f"weights do not fit the architecture: {', '.join(differing[:3])}")
    graph = _Graph()
    x = graph.add("Relu", "stem.relu", [graph.conv_norm("image", "stem", 3)])
    for block in residual_blocks():
        name, shortcut = block.name, x
        if block.projects:
            shortcut = graph.conv_norm(x, f"{name}.shortcut", 1, block.stride)
        x = graph.conv_norm(x, f"{name}.conv1", 3, block.stride)
        x = graph.add("Relu", f"{name}.relu1", [x])
        x = graph.conv_norm(x, f"{name}.conv2", 3)
        x = graph.add("Add", f"{name}.add", [x, shortcut])
        x = graph.add("Relu", f"{name}.relu2", [x])
    x = graph.add("GlobalAveragePool", "pool", [x])
    x = graph.add("Flatten", "flatten", [x])
    graph.add("Gemm", "classifier", [x, "classifier.weight", "classifier.bias"], transB=1)
    graph.nodes[-1].output[0] = "logits"
    return _checked_model(graph.nodes, weights)


def _checked_model(nodes: list[onnx.NodeProto], weights: Weights) -> onnx.ModelProto:
    image = helper.make_tensor_value_info(
        "image", TensorProto.FLOAT, ["N", 3, IMAGE_SIZE, IMAGE_SIZE]
    )
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(weights[name]), name)
        for name in weight_shapes()
    ]
    graph = helper.make_graph(nodes, "cifar_resnet", [image], [logits], initializers)
    model = helper.make_model(
        graph,
        producer_name="ingot",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def choose_balanced(labels: Labels, per_class: int, rng: np.random.Generator) -> Labels:
    """Draws the same number of images of each class.

    Args:
        labels: int64 [N].
        per_class: Images of each class.
        rng: Source of the draw.

    Returns:
        Indices in the order of the set, int64 [10 * per_class].
    """
    drawn = [rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in range(CLASSES)]
    return np.sort(np.concatenate(drawn))


def choose_calibration(labels: Labels, count: int, rng: np.random.Generator) -> Labels:
    """Draws images whose classes are as even as the count allows.

    Args:
        labels: int64 [N].
        count: Images in all.
        rng: Source of the draw.

    Returns:
        Indices in the order of the set, int64 [count].
    """
    drawn = choose_balanced(labels, -(-count // CLASSES), rng)
    surplus = [np.flatnonzero(labels[drawn] == c)[-1] for c in range(len(drawn) - count)]
    return np.delete(drawn, surplus)


def predict(model: onnx.ModelProto, images: Images) -> Labels:
    """Returns ONNX Runtime's most likely class of each image.

    Args:
        model: What `build_model` returned.
        images: uint8 [N, 32, 32, 3].

    Returns:
        int64 [N].
    """
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = []
    for start in range(0, len(images), 500):
        batch = preprocess(images[start : start + 500])
        found.append(session.run(["logits"], {"image": batch})[0].argmax(1))
    return np.concatenate(found)


def _top1(predicted: Labels, labels: Labels) -> dict[str, float]:
    correct = int((predicted == labels).sum())
    return {
        "images": len(labels),
        "correct": correct,
        "percent": round(100 * correct / len(labels), 4),
    }


def _describe(model: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Writes into the model what it is, how good it is and what its input must be."""
    top1 = facts["top1"]["all_test_images"]
    helper.set_model_props(
        model,
        {
            "dataset": facts["dataset"],
            "classes": ",".join(CIFAR10_CLASSES),
            "top1": f"{top1['percent']} % ({top1['correct']} of {top1['images']} test images)",
            "seed": str(facts["options"]["seed"]),
            "epochs": f"{facts['epochs_done']} of {facts['options']['epochs']}",
            "preprocessing": facts["preprocessing"],
            METADATA_KEY: CIFAR10_PREPROCESSING.model_dump_json(),
        },
    )


def bundle(weights_file: Path, cache: Path) -> dict[str, Any]:
    """Writes all bundled files.

    Args:
        weights_file: npz file that `ingot.models.train_cifar10` wrote.
        cache: Where `ingot.models.cifar10.fetch_cifar10` keeps the data set.

    Returns:
        The facts, as they are written to the JSON file.
    """
    with np.load(weights_file) as stored:
        weights = {name: stored[name] for name in weight_shapes()}
        predicted_torch = stored["predicted"]
        facts: dict[str, Any] = json.loads(str(stored["facts"]))
    images, labels, test_images, test_labels = fetch_cifar10(cache)
    model = build_model(weights)
    predicted = predict(model, test_images)
    rng = np.random.default_rng(SAMPLE_SEED)
    chosen = choose_balanced(test_labels, TEST_IMAGES_PER_CLASS, rng)
    calibration = choose_calibration(labels, CALIBRATION_IMAGES, rng)

    facts["dataset"] = "CIFAR-10 (Krizhevsky, 2009)"
    facts["preprocessing"] = f"(RGB / 255 - {CIFAR10_MEAN}) / {CIFAR10_STD}, NCHW"
    facts["top1"] = {
        "all_test_images": _top1(predicted, test_labels),
        "bundled_test_images": _top1(predicted[chosen], test_labels[chosen]),
    }
    facts["predictions_that_differ_from_torch"] = int((predicted != predicted_torch).sum())
    facts["sample_seed"] = SAMPLE_SEED
    facts["versions"] |= {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    _describe(model, facts)

    BUNDLED.mkdir(exist_ok=True)
    serialized = model.SerializeToString(deterministic=True)
    BUNDLED_MODEL.write_bytes(serialized)
    facts["sha256"] = hashlib.sha256(serialized).hexdigest()
    save_sample(BUNDLED_TEST, test_images[chosen], test_labels[chosen], chosen)
    save_sample(BUNDLED_CALIBRATION, images[calibration], labels[calibration], calibration)
    seal([BUNDLED_MODEL, BUNDLED_TEST, BUNDLED_CALIBRATION])
    BUNDLED_FACTS.write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def main() -> None:
    """Bundles what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="npz file of the training")
    parser.add_argument("--cache-dir", type=Path, default=cache_dir())
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    facts = bundle(arguments.weights, arguments.cache_dir)
    log.info("%s", json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
