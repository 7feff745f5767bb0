"""Convolutions that sum over channels."""
