"""Compiled kernels on disk: what is damaged is compiled anew, what can't be written is not kept.

Numba's own cache trusts its files: an empty index or a cut-off one ends every run, damaged code may end the
process, and a folder that can't be written is not read. Here every file begins with a digest of the rest, and
no error of reading or writing leaves the cache.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

from numba.core import caching, config, serialize

_numba: Any = caching  # which has no types
_dumps: Any = serialize.dumps
_SEAL = hashlib.sha256
_SEAL_BYTES = _SEAL().digest_size


class _Locator(_numba.UserProvidedCacheLocator):  # type: ignore[misc]
    """The folder that is given, whether it can be written or not."""

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)


class _Results(_numba.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _SealedFiles(_numba.IndexDataCacheFile):  # type: ignore[misc]
    """Index and data of one kernel; data name the key that they are of."""

    # Two processes that compile different signatures at once may number their data alike, and only one of
    # them is in the index that stays: without the key, code of one signature would run for another.

    def load(self, key: Any) -> Any:
        """Return what was saved under `key`, or None if that is not whole."""
        name = self._load_index().get(key)
        kept, data = (None, None) if name is None else self._read(self._data_path(name)) or (None, None)
        return data if kept == key else None

    def save(self, key: Any, data: Any) -> None:
        """Save `data` under `key`."""
        super().save(key, (key, data))

    def _load_index(self) -> dict[Any, str]:
        version, stamp, names = self._read(self._index_path) or (None, None, {})
        return names if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _read(self, path: str) -> Any:
        """Return what a file holds, or None if it can't be read or is damaged."""
        try:
            whole = Path(path).read_bytes()
        except OSError:
            return None
        seal, content = whole[:_SEAL_BYTES], whole[_SEAL_BYTES:]
        return pickle.loads(content) if _SEAL(content).digest() == seal else None  # noqa: S301 - our own

    def _write(self, path: str, content: Any) -> None:
        stored = _dumps(content)
        with self._open_for_write(path) as file:
            file.write(_SEAL(stored).digest() + stored)


def _identity(value: Any) -> Any:
    """Tell functions apart by their code and what it refers to, and other values by what they are."""
    function = getattr(value, "py_func", value)
    if not isinstance(function, FunctionType):
        return value if isinstance(value, (int, float, str, type(None))) else _SEAL(_dumps(value)).hexdigest()
    code, cells = function.__code__, function.__closure__ or ()
    inside = tuple(_identity(cell.cell_contents) for cell in cells)
    return function.__module__, function.__qualname__, _SEAL(code.co_code).hexdigest(), inside


class KernelCache(_numba.FunctionCache):  # type: ignore[misc]
    """Cache of one kernel.

    Parameters
    ----------
    function : callable
        Defined in a file.
    folder : Path
        Of this kernel alone; need not exist.
    """

    _impl_class = _Results

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        # Numba takes the folder from settings; the caller lets one thread at a time in here.
        settings: Any = config
        kept = settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES
        settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES = str(folder), ""
        try:
            super().__init__(function)
        finally:
            settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES = kept
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _SealedFiles(self._cache_path, self._impl.filename_base, stamp)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """Key of the code for a signature: Numba's own differs in every process if a kernel calls others."""
        return sig, codegen.magic_tuple(), _identity(self._py_func)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature, or None if it must be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever the files hold, the kernel can be compiled
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code, if that is possible."""
        with suppress(Exception):  # what is not kept is compiled again
            super().save_overload(sig, data)
