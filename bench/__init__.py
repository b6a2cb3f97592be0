"""Benchmarks: `python -m bench.table` runs them and prints the README's table."""
