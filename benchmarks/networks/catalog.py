"""The networks of benchmarks/architectures.py: each with fixed and with open sizes, small and full.

``small`` keeps a network's structure at sizes that compile in seconds, for tests.

Half of the networks are for development, and half are only run at the end, to see whether what was
made for the first is fast on the others. Of each two neighbours of the list one is of either half,
by a digest of their names: no result has a part in it, and what is added at the end moves no other.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import onnx

from benchmarks.networks.classifiers import PUBLISHED, Classifier
from benchmarks.networks.dense import AUTOENCODER, Perceptron
from benchmarks.networks.detector import Detector
from benchmarks.networks.feed_forward import FAMILIES, FeedForward, PointNet
from benchmarks.networks.generator import Generator
from benchmarks.networks.gpt2 import Gpt2, gpt2
from benchmarks.networks.llama import Llama, llama
from benchmarks.networks.mobile import BLOCKS, MobileNetV3
from benchmarks.networks.recognizer import TextRecognizer
from benchmarks.networks.recommendation import Dlrm, dlrm
from benchmarks.networks.residual import DeepLab, ResNet
from benchmarks.networks.signals import KeywordSpotting, SpeakerSeparation, TemporalConvolutions
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
Half: TypeAlias = Literal["development", "held_out"]
HALVES: tuple[Half, ...] = ("development", "held_out")
# Of the digest; fixed before anything was timed.
_SEED = 19


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of the list.

    Attributes:
        name: Its name.
        build: Makes the model of sizes by keyword.
        small: Sizes for tests, over the defaults.
        fixed: Sizes that bind what is open by default.
        opened: Names for what is bound by default.
        half: What it is for.
    """

    name: str
    build: Callable[..., onnx.ModelProto]
    small: Sizes
    fixed: Sizes
    opened: Sizes
    half: Half = "development"

    def model(self, *, open_sizes: bool, small: bool = False) -> onnx.ModelProto:
        """Builds the model, with fixed or with open sizes."""
        sizes = {**(self.small if small else {}), **(self.opened if open_sizes else self.fixed)}
        return self.build(**sizes)


def _image(
    name: str, kind: Callable[..., Any], small: Sizes, *, any_size: bool, **options: Any
) -> Network:
    """A network over images; where it takes any size, height and width can be open too."""
    opened = {"batch": "batch", **({"height": "height", "width": "width"} if any_size else {})}
    return Network(name, lambda **sizes: kind(**{**options, **sizes}).build(), small, {}, opened)


def _rows(
    name: str, kind: Callable[..., Any], small: Sizes, *opened: str, **options: Any
) -> Network:
    """A network over something else, whose batch can be open, and what else is named."""
    names = {size: size for size in ("batch", *opened)}
    return Network(name, lambda **sizes: kind(**{**options, **sizes}).build(), small, {}, names)


_SMALL_STAGES = {"widths": (16, 32, 64, 128), "depths": (1, 1, 1, 1), "group": 16, "last": 64,
                 "classes": 10}  # fmt: skip
_SMALL_GROUPS = {"widths": (48, 96), "depths": (1, 2), "classes": 10}
_ENDS_DENSE = [name for name, (_, ends_dense) in FAMILIES.items() if ends_dense]
_THIN = {"thin": 16, "classes": 10}
_TINY_IMAGE = {"height": 64, "width": 64}
_SMALL_RESNET = {"depths": (1, 1), "channels": 16, "classes": 10}
_TEXT = {"batch": 1, "length": 128}
_STEP = {"batch": 1, "length": 1, "past": 127}

_LISTED: tuple[Network, ...] = (
    *(
        _image(family, Classifier,
               {**(_SMALL_GROUPS if family == "shufflenet" else _SMALL_STAGES), **_TINY_IMAGE},
               any_size=True, family=family, **sizes)
        for family, sizes in PUBLISHED.items()
    ),
    *(
        _image(family, FeedForward, {**_THIN, "height": 80, "width": 80}, any_size=False,
               family=family, **({"height": 227, "width": 227} if family == "alexnet" else {}))
        for family in _ENDS_DENSE
    ),
    *(
        _image(family, FeedForward, {**_THIN, **_TINY_IMAGE}, any_size=True, family=family)
        for family in FAMILIES if family not in _ENDS_DENSE
    ),
    _image("mobilenet_v3", MobileNetV3, {"blocks": BLOCKS[:6], "last": 48, "hidden": 64,
                                         "classes": 10, **_TINY_IMAGE}, any_size=True),
    _image("resnet18", ResNet, {**_SMALL_RESNET, **_TINY_IMAGE}, any_size=True,
           depths=(2, 2, 2, 2), bottleneck=False),
    _image("se_resnet50", ResNet, {**_SMALL_RESNET, **_TINY_IMAGE}, any_size=True, squeeze=True),
    _image("resnext50", ResNet, {**_SMALL_RESNET, **_TINY_IMAGE, "groups": 4}, any_size=True,
           groups=32),
    _image("deeplab", DeepLab,
           {"trunk": ResNet(depths=(1, 1), channels=8, bottleneck=False), "channels": 8,
            "classes": 3, **_TINY_IMAGE}, any_size=True),
    _image("dcgan", Generator, {"latent": 10, "widths": (16, 8)}, any_size=False),
    _rows("crnn", TextRecognizer, {"channels": 4, "units": 8, "characters": 7, "width": 32},
          "width"),
    _rows("pointnet", PointNet, {"widths": (8, 16), "dense": (8,), "classes": 5, "points": 64},
          "points"),
    _rows("tcn", TemporalConvolutions,
          {"features": 8, "channels": 16, "levels": 3, "results": 5, "length": 50}, "length"),
    _rows("conv_tasnet", SpeakerSeparation,
          {"filters": 16, "channels": 8, "inner": 16, "levels": 2, "repeats": 1, "samples": 808},
          "samples"),
    _rows("ds_cnn", KeywordSpotting, {"channels": 16, "depth": 2}),
    _rows("mlp", Perceptron, {"hidden": (16,)}),
    _rows("autoencoder", Perceptron, {"features": 32, "hidden": (16, 8), "results": 32},
          **AUTOENCODER),
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
    _image("unet_3d", UNet, {"channels": 4, "levels": 2, "depth": 8, "height": 16, "width": 16},
           any_size=True, channels=16, levels=3, depth=32, height=64, width=64),
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


def halved(networks: Sequence[Network]) -> tuple[Network, ...]:
    """Gives one of each two neighbours to either half, the last of an odd number to development.

    Held out is the one whose digest is larger: SHA-256 of a seed, a colon and the name.
    """
    result = []
    for begin in range(0, len(networks), 2):
        pair = networks[begin : begin + 2]
        first = min(pair, key=_digest)
        result += [
            dataclasses.replace(network, half="development" if network is first else "held_out")
            for network in pair
        ]
    return tuple(result)


def _digest(network: Network) -> bytes:
    return hashlib.sha256(f"{_SEED}:{network.name}".encode()).digest()


NETWORKS = halved(_LISTED)


def by_name(name: str) -> Network:
    """Returns a network of the list.

    Raises:
        KeyError: There is none of that name.
    """
    return {network.name: network for network in NETWORKS}[name]
