"""Benchmarks: one module per scenario. Each figure is compared with a ceiling measured in the same run."""
