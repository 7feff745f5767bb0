"""Data sets: what a model is calibrated with and judged by.

``open_dataset`` recognizes what a path holds; the readers decode one example at a time.
"""

from ingot.data.base import Dataset, Example
from ingot.data.opening import open_dataset

__all__ = ["Dataset", "Example", "open_dataset"]
