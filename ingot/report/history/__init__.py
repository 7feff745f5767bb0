"""What was measured before: kept in a file, and held against what is measured now."""
