"""What is told of runs: comparisons, curves, the protocol table."""
