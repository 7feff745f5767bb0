"""The tests, as a package: another package's top-level ``tests`` must not hide them."""
