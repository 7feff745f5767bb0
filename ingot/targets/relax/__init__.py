"""What every target that compiles by TVM shares: import to Relax, weights, linking."""
