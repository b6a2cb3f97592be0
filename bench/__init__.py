"""Benchmarks, all against a yardstick that is measured in the same rounds.

``python -m bench.table`` runs them and prints the tables; ``python -m bench.compare`` compares two runs.
"""
