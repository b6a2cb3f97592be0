"""The HDF5 store: results of a run with their units and provenance; ``docs/store.md`` is its layout."""

from bitxcore.store.findings import Finding, Verification
from bitxcore.store.provenance import Input, Provenance
from bitxcore.store.reader import Store
from bitxcore.store.verifying import verify
from bitxcore.store.writer import StoreWriter

__all__ = ["Finding", "Input", "Provenance", "Store", "StoreWriter", "Verification", "verify"]
