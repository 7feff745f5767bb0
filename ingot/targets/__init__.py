"""What a model can be lowered to."""
