"""Activations of a model on data: their ranges, moments and samples."""
