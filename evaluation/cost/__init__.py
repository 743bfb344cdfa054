"""What labelling costs: seconds, memory, CPU time."""
