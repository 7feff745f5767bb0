"""How work is cut: register tiles, blocks for caches and threads, the axes of images."""
