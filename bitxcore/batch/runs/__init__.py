"""Many dumps in one run that may be killed at any moment: units of work, finished parts, and their store.

A run goes through the units of its dumps (`units`), keeps what each gives as a file (`parts`, `spool`), and
writes the store from these files, in the order of the inputs (`assembling`). What is there is not done again.
"""
