"""What an HDF5 file holds, as plain data; runs in the process that may crash.

No handle outlives the look at one dataset: an open one takes 20 kB of libhdf5.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.lib import format as npy_format

from bitxcore.dumps.base import BLOCK_BYTES
from bitxcore.dumps.hdf5_links import find, h5py_name, stored_name
from bitxcore.dumps.hdf5_virtual import VirtualSources
from bitxcore.dumps.trust import NameBudget, UnsupportedError, check_expansion, declared_bytes, one_line
from bitxcore.errors import DumpError, error_context

KERAS_ATTRIBUTES = ("layer_names", "keras_version")


def listing(file: Any, most_names: int) -> tuple[list[str], list[dict[str, Any]]]:
    """List the datasets of an open file, sorted by name.

    Parameters
    ----------
    file : h5py.File
    most_names : int
        Characters that all names may have.

    Returns
    -------
    list of str
        Which of `KERAS_ATTRIBUTES` the file has.
    list of dict
        Of each dataset ``name`` and either ``ignored``, the reason why it is not a tensor, or ``shape``,
        ``descr`` (as NumPy writes it), ``stored`` bytes, ``virtual``, ``rows`` and ``unpacked`` bytes of a
        chunk, and ``offset`` if its values lie in the file as NumPy has them.

    Raises
    ------
    DumpError
        If a dataset has chunks that do not fit it, or a soft link can't be followed for damage on its way.
    """
    records, soft, virtual = _walk(file, most_names)
    for name in soft:
        try:
            found = find(file, name)
        except UnsupportedError as error:
            records.append({"name": name, "ignored": error.message})
            continue
        except Exception as error:
            raise DumpError(f"soft link {name!r} can't be followed: {one_line(error)}") from error
        if isinstance(found, h5py.h5d.DatasetID):
            records.append(_record(name, found))
            virtual += [name] if records[-1].get("virtual") else []
    by_name = {record["name"]: record for record in records}
    sources = VirtualSources()
    for name in sorted(virtual):
        with error_context(tensor=name):
            try:
                sources.check(file[stored_name(name)])
            except UnsupportedError as error:
                by_name[name].clear()
                by_name[name].update(name=name, ignored=error.message)
    records.sort(key=lambda record: str(record["name"]))
    return [name for name in KERAS_ATTRIBUTES if name in file.attrs], records


def _walk(file: Any, most_names: int) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Return records of datasets, names of soft links, and names of virtual datasets.

    Each group is entered once and by hard links only. No other link is followed: a soft one may lead
    through an external one that is not seen yet.
    """
    records: list[dict[str, Any]] = []
    soft: list[str] = []
    virtual: list[str] = []
    root = file["/"].id
    groups = [("", root)]
    entered = {h5py.h5o.get_info(root).addr}
    names = NameBudget(most_names)
    while groups:
        prefix, group = groups.pop()
        for key in group:
            name = prefix + h5py_name(key)
            kind = group.links.get_info(key).type
            if kind == h5py.h5l.TYPE_SOFT:
                soft.append(name)
                names.take(len(name))
            elif kind != h5py.h5l.TYPE_HARD:
                records.append({"name": name, "ignored": "is a link to another file"})
                names.take(len(name))
            if kind != h5py.h5l.TYPE_HARD:
                continue
            found = h5py.h5o.open(group, key)
            if isinstance(found, h5py.h5g.GroupID):
                address = h5py.h5o.get_info(found).addr
                if address not in entered:
                    entered.add(address)
                    groups.append((f"{name}/", found))
            elif isinstance(found, h5py.h5d.DatasetID):
                records.append(_record(name, found))
                names.take(len(name))
                if records[-1].get("virtual"):
                    virtual.append(name)
    return records, soft, virtual


def _record(name: str, dataset: Any) -> dict[str, Any]:
    with error_context(tensor=name):
        if dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            return {"name": name, "ignored": "empty dataspace"}
        try:
            dtype = dataset.dtype
        except TypeError as error:
            return {"name": name, "ignored": one_line(error)}
        if dtype.hasobject:
            return {"name": name, "ignored": "text or variable-length data"}
        if dtype.subdtype is not None:
            return {"name": name, "ignored": f"elements are arrays, of dtype {dtype}"}
        try:
            return {"name": name, **_facts(dataset, dtype)}
        except UnsupportedError as error:
            return {"name": name, "ignored": error.message}


def _facts(dataset: Any, dtype: Any) -> dict[str, Any]:
    made = dataset.get_create_plist()
    if made.get_external_count():
        raise UnsupportedError(f"its values are in another file, {h5py_name(made.get_external(0)[0])!r}")
    shape, layout = dataset.shape, made.get_layout()
    chunks = made.get_chunk() if layout == h5py.h5d.CHUNKED else None
    if chunks is not None and (len(chunks) != len(shape) or 0 in chunks):
        # libhdf5 2.0 does not check this, and a read never ends.
        raise DumpError(f"chunks {chunks} do not fit shape {shape}")
    facts: dict[str, Any] = {
        "shape": shape,
        "descr": npy_format.dtype_to_descr(dtype),
        "stored": dataset.get_storage_size(),
        "virtual": layout == h5py.h5d.VIRTUAL,
    }
    if chunks:
        unpacked = dtype.itemsize
        for length in chunks:
            unpacked *= length
        facts |= {"rows": chunks[0], "unpacked": unpacked}
    if layout == h5py.h5d.CONTIGUOUS and not made.get_nfilters():
        plain = h5py.h5t.py_create(dtype, logical=True)
        if dataset.get_type().equal(plain):
            facts["offset"] = dataset.get_offset()
    return facts


def read_everything(file: Any) -> None:
    """Read every attribute and dataset that hard links lead to, in blocks; not what is kept elsewhere."""
    root = file["/"]
    groups = [("", root)]
    entered = {h5py.h5o.get_info(root.id).addr}
    while groups:
        prefix, group = groups.pop()
        dict(group.attrs)
        for key in group:
            if group.id.links.get_info(stored_name(key)).type != h5py.h5l.TYPE_HARD:
                continue
            found = group[stored_name(key)]
            address = h5py.h5o.get_info(found.id).addr
            if address in entered:
                continue
            entered.add(address)
            with error_context(part=prefix + key):
                if isinstance(found, h5py.Group):
                    groups.append((f"{prefix}{key}/", found))
                elif isinstance(found, h5py.Dataset) and found.shape is not None:
                    _read_dataset(found)


def _read_dataset(dataset: Any) -> None:
    dict(dataset.attrs)
    if dataset.external or dataset.is_virtual:
        return
    facts = _facts(dataset.id, dataset.dtype)
    nbytes = declared_bytes(dataset.shape, np.dtype((np.void, dataset.dtype.itemsize)))
    check_expansion(nbytes, facts["stored"])
    if not dataset.shape:
        dataset[()]
        return
    step = max(1, BLOCK_BYTES * dataset.shape[0] // max(1, nbytes))
    step = -(-step // facts.get("rows", 1)) * facts.get("rows", 1)
    for start in range(0, dataset.shape[0] if nbytes else 0, step):
        dataset[start : start + step]
