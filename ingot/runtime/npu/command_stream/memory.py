"""Memory behind the base pointers, and where the elements of feature maps lie in it.

Element (y, x, c) of a tile lies, by the feature map's layout, at

    NHWC     y * stride_y + x * stride_x + c * size
    NHCWB16  y * stride_y + (c // 16) * stride_c + x * stride_x + (c % 16) * size

from the tile's base. In NHWC the NPU ignores ``STRIDE_C`` (ethos-u-vela says so where it makes
transpositions of strides).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.hazards import Access
from ingot.runtime.npu.command_stream.registers import FeatureMap, Layout, Span

BRICK = 16

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Part:
    """Part of a tile: a box of elements with one stride along each axis.

    Attributes:
        rows: The rows of the feature map that it holds.
        columns: Likewise.
        channels: Likewise, as a slice.
        offset: Address of its first element.
        shape: Rows, bricks, columns, channels of a brick.
        strides: Bytes along these.
    """

    rows: slice
    columns: slice
    channels: slice
    offset: int
    shape: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]


@dataclass
class Memory:
    """Bytes behind base pointers.

    Attributes:
        regions: The bytes by base pointer.
        read_only: Base pointers behind which nothing may be written.
        accesses: What has been read and written, until someone clears it.
    """

    regions: dict[int, Bytes]
    read_only: frozenset[int]
    accesses: list[Access] = field(default_factory=list)

    def span(self, span: Span, what: str, writes: bool = False) -> Bytes:
        """Returns a view of bytes.

        Args:
            span: Which bytes.
            what: What they are, for the message of an error.
            writes: Whether the caller writes them.

        Raises:
            CommandError: They lie outside of the region's memory.
        """
        region = self._region(span.region, what)
        self._access(what, Access(span.region, span.address, span.address + span.length, writes))
        return region[span.address : span.address + span.length]

    def read(self, feature_map: FeatureMap, shape: tuple[int, int, int]) -> Array:
        """Returns a copy of a feature map.

        Args:
            feature_map: Where it lies.
            shape: Height, width and depth.

        Raises:
            CommandError: An element lies outside of the region's memory.
        """
        # All parts are checked before anything of this size is allocated.
        parts = list(self._parts(feature_map, shape, writes=False))
        values = np.empty(shape, feature_map.dtype)
        for part, elements in parts:
            box = values[part.rows, part.columns, part.channels]
            rows, bricks, columns, channels = part.shape
            box.reshape(rows, columns, bricks, channels)[...] = elements.transpose(0, 2, 1, 3)
        return values

    def write(self, feature_map: FeatureMap, values: Array) -> None:
        """Writes a feature map.

        Args:
            feature_map: Where it lies.
            values: Height by width by depth, of the feature map's dtype.

        Raises:
            CommandError: An element lies outside of the region's memory, or in read-only memory.
        """
        for part, elements in list(self._parts(feature_map, values.shape, writes=True)):
            box = values[part.rows, part.columns, part.channels]
            rows, bricks, columns, channels = part.shape
            elements[...] = box.reshape(rows, columns, bricks, channels).transpose(0, 2, 1, 3)

    def _parts(
        self, feature_map: FeatureMap, shape: tuple[int, ...], writes: bool
    ) -> Iterator[tuple[_Part, Array]]:
        region = self._region(feature_map.region, feature_map.name)
        size = feature_map.dtype.itemsize
        for part in _divide(feature_map, shape):
            reach = [
                stride * (count - 1) for stride, count in zip(part.strides, part.shape, strict=True)
            ]
            low = part.offset + sum(distance for distance in reach if distance < 0)
            high = part.offset + sum(distance for distance in reach if distance > 0) + size
            self._access(feature_map.name, Access(feature_map.region, low, high, writes))
            yield (
                part,
                np.ndarray(part.shape, feature_map.dtype, region.data, part.offset, part.strides),
            )

    def _region(self, region: int, what: str) -> Bytes:
        memory = self.regions.get(region)
        if memory is None:
            raise CommandError(f"{what} is in region {region}, behind which there is no memory")
        return memory

    def _access(self, what: str, access: Access) -> None:
        size = self.regions[access.region].size
        if access.low < 0 or access.high > size:
            raise CommandError(
                f"{what} takes bytes {access.low} to {access.high} of region {access.region}, "
                f"which has {size}"
            )
        if access.writes and access.region in self.read_only:
            raise CommandError(f"{what} is in region {access.region}, where nothing may be written")
        self.accesses.append(access)


def _divide(feature_map: FeatureMap, shape: tuple[int, ...]) -> Iterator[_Part]:
    """Divides a feature map at its tiles and, in bricks, before an incomplete one."""
    height, width, depth = shape
    left = slice(0, min(feature_map.width0, width))
    right = slice(left.stop, width)
    for columns, split, bases in (
        (left, feature_map.height0, feature_map.bases[0::2]),
        (right, feature_map.height1, feature_map.bases[1::2]),
    ):
        upper = slice(0, min(split, height))
        for rows, base in ((upper, bases[0]), (slice(upper.stop, height), bases[1])):
            if rows.start < rows.stop and columns.start < columns.stop:
                yield from _bricks(feature_map, rows, columns, depth, base)


def _bricks(
    feature_map: FeatureMap, rows: slice, columns: slice, depth: int, base: int
) -> Iterator[_Part]:
    size = feature_map.dtype.itemsize
    stride_y, stride_x, stride_c = feature_map.strides
    area = rows.stop - rows.start, columns.stop - columns.start
    if feature_map.layout is Layout.NHWC:
        channels = slice(0, depth)
        strides = (stride_y, 0, stride_x, size)
        yield _Part(rows, columns, channels, base, (area[0], 1, area[1], depth), strides)
        return
    if base % BRICK:
        raise CommandError(
            f"{feature_map.name} lies in bricks at {base}, which is no multiple of 16"
        )
    whole, rest = divmod(depth, BRICK)
    strides = (stride_y, stride_c, stride_x, size)
    if whole:
        channels = slice(0, whole * BRICK)
        yield _Part(rows, columns, channels, base, (area[0], whole, area[1], BRICK), strides)
    if rest:
        channels = slice(whole * BRICK, depth)
        offset = base + whole * stride_c
        yield _Part(rows, columns, channels, offset, (area[0], 1, area[1], rest), strides)
