"""What an optimization costs in accuracy, by layer and as a whole, and the budget that holds it."""
