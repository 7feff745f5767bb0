"""From a decoded image or a sentence to what a model takes, exactly as its publisher prepared it.

A model's accuracy is defined together with its preprocessing, so the two travel together: the
parameters are small frozen values, stored as JSON in the model's ``metadata_props`` under
``METADATA_KEY``. Every function here handles one sample and returns a leading axis of one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pydantic
import tokenizers
from PIL import Image

from ingot.errors import DataError, ModelError

METADATA_KEY = "ingot.preprocessing"
"""The key of ``ModelProto.metadata_props`` under which a model carries its preprocessing."""

MOST_PIXELS = 1 << 27
"""An image of more pixels is not decoded or made: at 3 bytes each it would take 400 MB."""

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

TextInput: TypeAlias = Literal["input_ids", "attention_mask", "token_type_ids"]


class ImagePreprocessing(pydantic.BaseModel):
    """Resize, centre crop, normalize: the usual evaluation recipe of image classifiers.

    The value of a pixel is ``(pixel * scale - mean) / std``, channel by channel in
    ``channel_order``.

    Attributes:
        kind: Discriminates the union ``Preprocessing``.
        height: Height of the crop in pixels.
        width: Width of the crop in pixels.
        resize_short_side: What an image's short side is resized to before the crop, in pixels;
            None crops only. An image whose short side lies between the crop and this length is
            taken as already reduced and is only cropped, never enlarged.
        resample: The interpolation of the resize (Pillow's, with antialiasing).
        scale: Factor on the 8-bit value.
        mean: Subtracted after scaling, per channel in ``channel_order``.
        std: Divisor, per channel in ``channel_order``.
        channel_order: Order of the model's channels.
        layout: Order of the model's axes.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    kind: Literal["image"] = "image"
    height: int = pydantic.Field(gt=0)
    width: int = pydantic.Field(gt=0)
    resize_short_side: int | None = pydantic.Field(default=None, gt=0)
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    scale: float = 1.0 / 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Prepares one image.

        Args:
            image: uint8, [height, width, 3], RGB.

        Returns:
            float32, [1, 3, height, width] or [1, height, width, 3] by ``layout``.

        Raises:
            DataError: The array is no 8-bit RGB image, or smaller than the crop.
        """
        return self.normalize(self.crop(image))

    def crop(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resizes and centre-crops uint8 [h, w, 3] to uint8 [``height``, ``width``, 3].

        Sizes and offsets are rounded as in torchvision's ``Resize`` and ``CenterCrop``: the long
        side down, the offset half to even.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(
                f"an image must be uint8 [height, width, 3] (RGB), not "
                f"{image.dtype} {list(image.shape)}; decode it to 8-bit RGB first"
            )
        image = self._resize(image)
        rows, columns = image.shape[:2]
        if rows < self.height or columns < self.width:
            raise DataError(
                f"an image of {columns}x{rows} pixels is smaller than the model's "
                f"{self.width}x{self.height}; give larger images or set resize_short_side"
            )
        top = round((rows - self.height) / 2)
        left = round((columns - self.width) / 2)
        return image[top : top + self.height, left : left + self.width]

    def normalize(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Normalizes uint8 RGB [``height``, ``width``, 3] to the model's float32 [1, ...]."""
        if self.channel_order == "BGR":
            image = image[:, :, ::-1]
        values = image.astype(np.float32) * np.float32(self.scale)
        values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        if self.layout == "NCHW":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[np.newaxis], dtype=np.float32)

    def _resize(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        target = self.resize_short_side
        rows, columns = image.shape[:2]
        short, long = min(rows, columns), max(rows, columns)
        if target is None or min(self.height, self.width) <= short <= target:
            return image
        if short == 0:
            raise DataError("an image has no pixels; remove it from the data")
        length = int(target * long / short)
        if target * length > MOST_PIXELS:
            raise DataError(
                f"an image of {columns}x{rows} pixels is too long to be resized to {target} on its "
                "short side; crop it, or remove it from the data"
            )
        size = (target, length) if columns <= rows else (length, target)
        resized = Image.fromarray(image).resize(size, _RESAMPLING[self.resample])
        return np.asarray(resized, dtype=np.uint8)


class TextPreprocessing(pydantic.BaseModel):
    """Tokenizing by a ``tokenizer.json`` (the format of the ``tokenizers`` library).

    Sentences are cut to ``max_length`` and never padded, so a mask is all ones.

    Attributes:
        kind: Discriminates the union ``Preprocessing``.
        tokenizer: Path of the ``tokenizer.json``.
        max_length: The most tokens that a sentence keeps, special tokens included.
        pooling: How a sentence's embedding is made of the hidden states of its tokens; None when
            the model's output is used as it is.
        inputs: Which of the tokenizer's arrays the model takes, by input name.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    kind: Literal["text"] = "text"
    tokenizer: str
    max_length: int = pydantic.Field(default=128, gt=0)
    pooling: Literal["mean", "cls"] | None = None
    inputs: tuple[TextInput, ...] = ("input_ids", "attention_mask", "token_type_ids")

    def apply(self, text: str) -> dict[str, npt.NDArray[np.int64]]:
        """Tokenizes one sentence into int64 [1, tokens] arrays, by input name.

        Raises:
            DataError: The tokenizer's file is missing or damaged.
        """
        encoding = _tokenizer(self.tokenizer, self.max_length).encode(text)
        arrays = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return {name: np.asarray([arrays[name]], dtype=np.int64) for name in self.inputs}

    @property
    def padding(self) -> dict[str, int]:
        """What fills each input behind a sentence's last token, where a model fixes their number.

        Raises:
            DataError: The tokenizer's file is missing or damaged.
        """
        tokenizer = _tokenizer(self.tokenizer, self.max_length)
        known = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>"))
        token = next((number for number in known if number is not None), 0)
        return {name: token if name == "input_ids" else 0 for name in self.inputs}

    def pool(self, hidden: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Pools one sentence's hidden states, [1, tokens, width], into its embedding, [width].

        Without ``pooling`` the output is taken as the embedding itself and is only flattened.
        """
        values = np.asarray(hidden, dtype=np.float64)
        if self.pooling == "mean":
            return np.asarray(values.mean(axis=1)[0])
        if self.pooling == "cls":
            return np.asarray(values[0, 0])
        return values.reshape(-1)


Preprocessing: TypeAlias = Annotated[
    ImagePreprocessing | TextPreprocessing, pydantic.Field(discriminator="kind")
]

_ADAPTER: pydantic.TypeAdapter[ImagePreprocessing | TextPreprocessing] = pydantic.TypeAdapter(
    Preprocessing
)


def read_metadata(metadata: Mapping[str, str], folder: Path) -> Preprocessing | None:
    """Reads the preprocessing that a model carries.

    Args:
        metadata: The model's ``metadata_props``.
        folder: The folder of the model's file; a tokenizer's path is relative to it.

    Returns:
        The preprocessing, or None when the model carries none.

    Raises:
        ModelError: The entry is malformed.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        return None
    try:
        preprocessing = _ADAPTER.validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the JSON text"
        raise ModelError(
            f"the model's metadata entry {METADATA_KEY!r} is malformed at {where}: "
            f"{first['msg']}; correct or remove the entry"
        ) from error
    if isinstance(preprocessing, TextPreprocessing):
        tokenizer = str(folder / preprocessing.tokenizer)
        return preprocessing.model_copy(update={"tokenizer": tokenizer})
    return preprocessing


@functools.lru_cache(maxsize=4)
def _tokenizer(path: str, max_length: int) -> tokenizers.Tokenizer:
    if not Path(path).is_file():
        raise DataError(f"no tokenizer at {path}: pull or export the model again")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(path)
    except Exception as error:  # the library raises nothing more specific
        raise DataError(f"the tokenizer {path} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer
