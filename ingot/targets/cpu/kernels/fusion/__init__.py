"""A kernel and what is fused with it: the anchor, its epilogue, its gates."""
