"""What training data has in common with benchmarks."""
