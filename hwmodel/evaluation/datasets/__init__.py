"""Data sets that are made on the spot, the same from machine to machine: one module each."""
