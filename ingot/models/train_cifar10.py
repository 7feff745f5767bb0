"""Trains the bundled CIFAR-10 network.

    python -m ingot.models.train_cifar10 --output weights.npz

Needs PyTorch, which nothing else in Ingot does. It runs on a CPU in an hour or two, writes a
checkpoint after each epoch and goes on from it when it is started again. The random state of an
epoch depends on the seed and the epoch's number alone, so that a run that was interrupted takes
the same way as one that was not. `ingot.models.export_cifar10` makes the bundled files from its
output.

Recipe: SGD with Nesterov momentum and one learning-rate cycle (Smith and Topin, "Super-
Convergence", 2018), label smoothing, random crops and flips, crops that grow during training (as in
Tan and Le, "EfficientNetV2", 2021), and an exponential moving average of the weights, which is what
is kept. The last epoch's average is the result; the test set chooses nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (the name that every PyTorch program gives it)

from ingot.errors import UsageError
from ingot.files import cache_dir
from ingot.models.cifar10 import CIFAR10_MEAN, CIFAR10_STD, Images, Labels, fetch_cifar10
from ingot.models.cifar_resnet import (
    BATCH_NORM_EPSILON,
    is_running_statistic,
    parameter_count,
    residual_blocks,
    weight_shapes,
)

log = logging.getLogger(__name__)

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TrainingOptions:
    """What decides the result of a run.

    Attributes:
        seed: Seed of the initial weights, the order of the images and their augmentation.
        epochs: Passes over the 50,000 training images.
        batch_size: Images per step.
        peak_learning_rate: Highest learning rate of the cycle, for the mean loss of a batch.
        weight_decay: L2 penalty of the convolutions and the dense layer; batch norms have none.
        momentum: Nesterov momentum.
        label_smoothing: Share of the target spread evenly over all classes.
        average_decay: Decay per step of the moving average of the weights.
        warmup: Share of all steps in which the learning rate rises.
    """

    seed: int = 0
    epochs: int = 50
    batch_size: int = 128
    peak_learning_rate: float = 0.2
    weight_decay: float = 5e-4
    momentum: float = 0.9
    label_smoothing: float = 0.1
    average_decay: float = 0.999
    warmup: float = 0.2


def forward(weights: Weights, images: torch.Tensor, training: bool) -> torch.Tensor:
    """Computes the network.

    Args:
        weights: All weights by their names in `ingot.models.cifar_resnet`.
        images: float32 [N, 3, H, W], normalized.
        training: Whether batch norms use, and update, the statistics of this batch.

    Returns:
        Logits, float32 [N, 10].
    """

    def conv_norm(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        kernel = weights[f"{name}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, variance = weights[f"{name}.mean"], weights[f"{name}.variance"]
        scale, bias = weights[f"{name}.scale"], weights[f"{name}.bias"]
        return F.batch_norm(x, mean, variance, scale, bias, training, 0.1, BATCH_NORM_EPSILON)

    x = F.relu(conv_norm(images, "stem"), inplace=True)
    for block in residual_blocks():
        shortcut = conv_norm(x, f"{block.name}.shortcut", block.stride) if block.projects else x
        x = F.relu(conv_norm(x, f"{block.name}.conv1", block.stride), inplace=True)
        x = conv_norm(x, f"{block.name}.conv2")
        x = F.relu(x + shortcut, inplace=True)
    pooled = x.mean(dim=(2, 3))
    return F.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])


def initial_weights(seed: int) -> Weights:
    """Draws the weights to start from: He-normal by fan-out, identity batch norms."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, shape in weight_shapes().items():
        if len(shape) > 1:
            fan = shape[0] * shape[2] * shape[3] if len(shape) == 4 else 2 * shape[1]
            weights[name] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
        else:
            ones = name.endswith((".scale", ".variance"))
            weights[name] = torch.ones(shape) if ones else torch.zeros(shape)
        if len(shape) == 4:
            weights[name] = weights[name].contiguous(memory_format=torch.channels_last)
        weights[name].requires_grad_(not is_running_statistic(name))
    return weights


def crop_size(progress: float) -> int:
    """Returns the side of the training crops: 24, then 28, then the full 32 pixels.

    Args:
        progress: Share of the epochs done, 0 to 1.
    """
    if progress < 0.6:
        return 24
    return 28 if progress < 0.8 else 32


def learning_rate(progress: float, options: TrainingOptions) -> float:
    """Returns the learning rate: a linear rise to the peak, then a linear fall to zero.

    Args:
        progress: Share of the steps done, 0 to 1.
        options: The peak, and the share of the steps that rise to it.
    """
    rise = 0.1 + 0.9 * progress / options.warmup
    fall = (1 - progress) / (1 - options.warmup)
    return options.peak_learning_rate * min(rise, fall)


def augmented_batches(
    images: Images, labels: Labels, epoch: int, options: TrainingOptions
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields one epoch of shuffled, randomly cropped and flipped batches.

    Full-size crops are taken after reflecting 4 pixels at the border, smaller ones reflect less.

    Args:
        images: uint8 [N, 32, 32, 3].
        labels: int64 [N].
        epoch: Number of the epoch, from 0.
        options: Seed, batch size and number of epochs.

    Yields:
        Normalized images, float32 [B, 3, S, S] in channels-last memory, and labels, int64 [B].
    """
    rng = np.random.default_rng([options.seed, epoch])
    size = crop_size(epoch / options.epochs)
    pad = (size - 24) // 2
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    shifts = padded.shape[1] - size + 1
    order = rng.permutation(len(images))
    span = np.arange(size)
    for start in range(0, len(order) - options.batch_size + 1, options.batch_size):
        chosen = order[start : start + options.batch_size]
        rows = rng.integers(shifts, size=(len(chosen), 1)) + span
        columns = rng.integers(shifts, size=(len(chosen), 1)) + span
        flip = rng.random(len(chosen)) < 0.5
        columns[flip] = columns[flip, ::-1]
        crops = padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        yield normalized(crops), torch.from_numpy(labels[chosen])


def normalized(images: Images) -> torch.Tensor:
    """Turns uint8 [N, H, W, 3] into normalized float32 [N, 3, H, W] in channels-last memory."""
    scale = np.float32(1) / (np.float32(255) * np.asarray(CIFAR10_STD, np.float32))
    offset = np.asarray(CIFAR10_MEAN, np.float32) / np.asarray(CIFAR10_STD, np.float32)
    return torch.from_numpy(images * scale - offset).permute(0, 3, 1, 2)


def predictions(weights: Weights, images: Images) -> npt.NDArray[np.int64]:
    """Returns the most likely class of each image [N], one view each, in batches of 500."""
    found = []
    with torch.no_grad():
        for start in range(0, len(images), 500):
            batch = normalized(images[start : start + 500])
            found.append(forward(weights, batch, training=False).argmax(1).numpy())
    return np.concatenate(found)


class Training:
    """A run: the weights, their moving average and the optimizer, saved after each epoch."""

    def __init__(self, options: TrainingOptions, checkpoint: Path) -> None:
        """Starts a run, or goes on with the one that the checkpoint holds.

        Args:
            options: What to train with.
            checkpoint: File that keeps the state between epochs.

        Raises:
            UsageError: The checkpoint was made with other options.
        """
        self.options = options
        self.checkpoint = checkpoint
        self.weights = initial_weights(options.seed)
        self.average = {name: value.detach().clone() for name, value in self.weights.items()}
        self.optimizer = self._new_optimizer()
        self.epoch = 0
        self.seconds = 0.0
        if checkpoint.exists():
            self._resume()

    def _new_optimizer(self) -> torch.optim.SGD:
        learned = [value for value in self.weights.values() if value.requires_grad]
        groups = [
            {"params": [value for value in learned if value.ndim > 1]},
            {"params": [value for value in learned if value.ndim == 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(
            groups,
            lr=self.options.peak_learning_rate,
            momentum=self.options.momentum,
            weight_decay=self.options.weight_decay,
            nesterov=True,
        )

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint)
        if state["options"] != asdict(self.options):
            raise UsageError(
                f"{self.checkpoint} belongs to a run with other options ({state['options']}): "
                "give these, or delete it to start anew"
            )
        with torch.no_grad():
            for name in self.weights:
                self.weights[name].copy_(state["weights"][name])
                self.average[name].copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        log.info("going on after epoch %d", self.epoch)

    def save(self) -> None:
        """Writes the checkpoint, in one step as others see it."""
        state = {
            "options": asdict(self.options),
            "weights": {name: value.detach() for name, value in self.weights.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def run_epoch(self, images: Images, labels: Labels) -> None:
        """Trains for one epoch and saves the checkpoint.

        Args:
            images: uint8 [N, 32, 32, 3].
            labels: int64 [N].
        """
        began = time.monotonic()
        steps = len(images) // self.options.batch_size
        losses = []
        for step, (batch, targets) in enumerate(
            augmented_batches(images, labels, self.epoch, self.options)
        ):
            progress = (self.epoch + step / steps) / self.options.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(progress, self.options)
            logits = forward(self.weights, batch, training=True)
            loss = F.cross_entropy(logits, targets, label_smoothing=self.options.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self._update_average(self.epoch * steps + step)
            losses.append(loss.item())
        self.epoch += 1
        self.seconds += time.monotonic() - began
        self.save()
        log.info(
            "epoch %d/%d: crop %d, mean loss %.4f, %.0f s so far",
            self.epoch,
            self.options.epochs,
            batch.shape[-1],
            float(np.mean(losses)),
            self.seconds,
        )

    def _update_average(self, step: int) -> None:
        # A shorter average at first, so that the initial weights do not linger in it.
        decay = min(self.options.average_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.weights.items():
                self.average[name].lerp_(value, 1 - decay)


def write_weights(training: Training, predicted: Labels, labels: Labels, output: Path) -> float:
    """Writes the averaged weights with the facts about the run, for the exporter.

    Args:
        training: The run.
        predicted: Class of each test image according to the averaged weights, int64 [10000].
        labels: The right classes, int64 [10000].
        output: npz file to write: the weights by name, ``predicted``, and ``facts`` (JSON).

    Returns:
        Top-1 accuracy in percent.
    """
    accuracy = 100 * float((predicted == labels).mean())
    facts = {
        "parameters": parameter_count(),
        "epochs_done": training.epoch,
        "options": asdict(training.options),
        "top1_torch_all_test_images": round(accuracy, 4),
        "training_seconds": round(training.seconds),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    }
    weights = {name: value.contiguous().numpy() for name, value in training.average.items()}
    np.savez(output, facts=np.array(json.dumps(facts)), predicted=predicted, **weights)
    return accuracy


def main() -> None:
    """Runs the training as the command line asks for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="npz file for the weights")
    parser.add_argument("--cache-dir", type=Path, default=cache_dir())
    parser.add_argument("--checkpoint", type=Path, default=Path("cifar10-checkpoint.pt"))
    parser.add_argument("--seed", type=int, default=TrainingOptions.seed)
    parser.add_argument("--epochs", type=int, default=TrainingOptions.epochs)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate-every", type=int, default=4, metavar="EPOCHS")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)

    options = TrainingOptions(seed=arguments.seed, epochs=arguments.epochs)
    images, labels, test_images, test_labels = fetch_cifar10(arguments.cache_dir)
    training = Training(options, arguments.checkpoint)
    log.info("%d parameters, %d epochs", parameter_count(), options.epochs)
    while training.epoch < options.epochs:
        training.run_epoch(images, labels)
        last = training.epoch == options.epochs
        if last or training.epoch % arguments.evaluate_every == 0:
            predicted = predictions(training.average, test_images)
            accuracy = write_weights(training, predicted, test_labels, arguments.output)
            log.info("top-1 of the average on the 10,000 test images: %.2f %%", accuracy)


if __name__ == "__main__":
    main()
