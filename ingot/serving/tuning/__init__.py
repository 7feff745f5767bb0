"""Finding how to batch a model: what each way takes under a random load, and which to choose."""
