"""Readers of published checkpoints that need neither PyTorch nor TensorFlow."""
