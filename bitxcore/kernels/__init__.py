"""Compiled loops. They neither check nor allocate; `bitxcore.pruning` and its siblings do."""
