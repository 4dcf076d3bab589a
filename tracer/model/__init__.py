"""What the events mean: pure functions and accumulators over arrays, without I/O and without a clock."""
