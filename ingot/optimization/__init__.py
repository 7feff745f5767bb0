"""The best artifact of a model: an optimization is kept only where it is measured to pay."""
