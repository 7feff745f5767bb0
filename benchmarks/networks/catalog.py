"""The networks of benchmarks/architectures.py: each with fixed and with open sizes, small and full.

``small`` keeps a network's structure at sizes that compile in seconds, for tests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import onnx

from benchmarks.networks.classifiers import Classifier
from benchmarks.networks.detector import Detector
from benchmarks.networks.gpt2 import Gpt2, gpt2
from benchmarks.networks.llama import Llama, llama
from benchmarks.networks.recommendation import Dlrm, dlrm
from benchmarks.networks.speech import (
    Wav2Vec,
    Whisper,
    wav2vec,
    whisper_decoder_step,
    whisper_encoder,
)
from benchmarks.networks.superresolution import SuperResolution
from benchmarks.networks.t5 import T5, t5_decoder, t5_encoder
from benchmarks.networks.text import DistilBert, Recurrent, distilbert, recurrent
from benchmarks.networks.transformers import MobileVit, SegFormer, Swin, VisionTransformer
from benchmarks.networks.unet import UNet
from benchmarks.networks.video import Video

Sizes = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of the list.

    Attributes:
        name: Its name.
        build: Makes the model of sizes by keyword.
        small: Sizes for tests, over the defaults.
        fixed: Sizes that bind what is open by default.
        opened: Names for what is bound by default.
    """

    name: str
    build: Callable[..., onnx.ModelProto]
    small: Sizes
    fixed: Sizes
    opened: Sizes

    def model(self, *, open_sizes: bool, small: bool = False) -> onnx.ModelProto:
        """Builds the model, with fixed or with open sizes."""
        sizes = {**(self.small if small else {}), **(self.opened if open_sizes else self.fixed)}
        return self.build(**sizes)


def _image(
    name: str, kind: Callable[..., Any], small: Sizes, *, any_size: bool, **options: Any
) -> Network:
    """A network over images; where it takes any size, height and width can be open too."""
    opened = {"batch": "batch", **({"height": "height", "width": "width"} if any_size else {})}
    return Network(name, lambda **sizes: kind(**options, **sizes).build(), small, {}, opened)


_SMALL_STAGES = {"widths": (16, 32, 64, 128), "depths": (1, 1, 1, 1), "classes": 10}
_TINY_IMAGE = {"height": 64, "width": 64}
_TEXT = {"batch": 1, "length": 128}
_STEP = {"batch": 1, "length": 1, "past": 127}

NETWORKS: tuple[Network, ...] = (
    *(
        _image(family, Classifier, {**_SMALL_STAGES, "height": 64, "width": 64}, any_size=True,
               family=family)
        for family in ("convnext", "mobilenet_v3", "regnet", "shufflenet_v2", "densenet")
    ),
    _image("vit", VisionTransformer,
           {"features": 48, "layers": 2, "heads": 3, "size": 64, "classes": 10}, any_size=False),
    _image("swin", Swin, {"features": 24, "depths": (2, 2), "size": 56, "classes": 10},
           any_size=False),
    _image("mobilevit", MobileVit, {"widths": (8, 16, 24, 32), "features": 32, "layers": 1,
                                    "size": 64, "classes": 10}, any_size=False),
    _image("segformer", SegFormer, {"widths": (8, 16, 32, 32), "heads": (1, 2, 2, 2), "depth": 1,
                                    "decoder": 16, "classes": 5, **_TINY_IMAGE}, any_size=True),
    _image("unet_transposed", UNet, {"channels": 8, "levels": 2, **_TINY_IMAGE}, any_size=True),
    _image("unet_resize", UNet, {"channels": 8, "levels": 2, **_TINY_IMAGE}, any_size=True,
           up="resize"),
    _image("yolo", Detector, {"channels": 8, "classes": 4, **_TINY_IMAGE}, any_size=True),
    _image("yolo_nms", Detector, {"channels": 8, "classes": 4, **_TINY_IMAGE}, any_size=True,
           suppressed=True),
    _image("espcn", SuperResolution, {"channels": 16, "height": 32, "width": 32}, any_size=True),
    _image("r3d", Video, {"widths": (8, 16), "depth": 1, "classes": 10, "frames": 8, "height": 32,
                          "width": 32}, any_size=True),
    Network("whisper_encoder", lambda **s: whisper_encoder(Whisper(**s)),
            {"layers": 1, "hidden": 48, "heads": 3, "mels": 16, "positions": 32},
            {"batch": 1}, {}),
    Network("whisper_decoder", lambda **s: whisper_decoder_step(Whisper(**s)),
            {"layers": 1, "hidden": 48, "heads": 3, "vocabulary": 99, "positions": 32, "text": 512},
            {"batch": 1, "past": 31}, {}),
    Network("wav2vec", lambda **s: wav2vec(Wav2Vec(**s)),
            {"layers": 1, "hidden": 48, "heads": 3, "channels": 16, "groups": 4, "taps": 8},
            {"batch": 1, "samples": 16000}, {}),
    Network("gpt2_prefill", lambda **s: gpt2(Gpt2(**s)),
            {"layers": 1, "hidden": 48, "heads": 3, "vocabulary": 100, "positions": 256},
            {**_TEXT, "past": 0}, {}),
    Network("gpt2_decode", lambda **s: gpt2(Gpt2(**s)),
            {"layers": 1, "hidden": 48, "heads": 3, "vocabulary": 100, "positions": 256},
            _STEP, {}),
    Network("t5_encoder", lambda **s: t5_encoder(T5(**s)),
            {"layers": 1, "hidden": 48, "heads": 3, "vocabulary": 100},
            {"batch": 1, "source": 64}, {}),
    Network("t5_decoder", lambda **s: t5_decoder(T5(**s), cached=True),
            {"layers": 1, "hidden": 48, "heads": 3, "vocabulary": 100},
            {"batch": 1, "source": 64, "length": 1, "past": 31}, {}),
    Network("llama_prefill", lambda **s: llama(Llama(**s)),
            {"layers": 1, "hidden": 64, "inner": 96, "heads": 4, "key_heads": 2, "vocabulary": 100,
             "positions": 256}, {**_TEXT, "past": 0}, {}),
    Network("llama_decode", lambda **s: llama(Llama(**s)),
            {"layers": 1, "hidden": 64, "inner": 96, "heads": 4, "key_heads": 2, "vocabulary": 100,
             "positions": 256}, _STEP, {}),
    Network("distilbert", lambda **s: distilbert(DistilBert(**s)),
            {"layers": 1, "hidden": 48, "heads": 3, "vocabulary": 100}, _TEXT, {}),
    Network("lstm", lambda **s: recurrent(Recurrent(cell="LSTM", **s)),
            {"hidden": 16, "embedding": 8, "vocabulary": 100}, {"batch": 1, "length": 100}, {}),
    Network("gru", lambda **s: recurrent(Recurrent(cell="GRU", **s)),
            {"hidden": 16, "embedding": 8, "vocabulary": 100}, {"batch": 1, "length": 100}, {}),
    Network("dlrm", lambda **s: dlrm(Dlrm(**s)),
            {"tables": 4, "categories": 50, "features": 8, "bottom": (16,), "top": (16,)},
            {"batch": 64}, {}),
)  # fmt: skip


def by_name(name: str) -> Network:
    """Returns a network of the list.

    Raises:
        KeyError: There is none of that name.
    """
    return {network.name: network for network in NETWORKS}[name]
