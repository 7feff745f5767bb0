"""Operators over rows and columns of matrices: softmax, norms, means, lookups."""
