"""The files that are installed beside the packages: network tables, cost figures, DRAM parts, samples."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bitxcore.errors import BitxError, OptionError


def data_folder(name: str) -> Path:
    """Folder of ``data/`` with a name.

    Raises
    ------
    BitxError
        If the data are not installed.

    Examples
    --------
    >>> data_folder("networks").joinpath("resnet50.json").is_file()
    True
    """
    spec = find_spec("bitxdata")
    # A checkout, installed in place or not, has `data` instead. An editable install by other tools may list a
    # hook beside the folder, which importlib.resources stumbles over.
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for place in (*places, Path(__file__).parents[1] / "data"):
        if (folder := place / name).is_dir():
            return folder
    raise BitxError(f"the data of this package are not installed: there is no folder bitxdata/{name}")


def sample_path(name: str) -> Path:
    """Path of a sample file that comes with the package, wherever that is installed.

    Parameters
    ----------
    name : str
        As ``bitx list samples`` shows it, or the name of the file: ``"three.png"``.

    Raises
    ------
    OptionError
        If there is no such sample; all names follow.

    Examples
    --------
    >>> sample_path("digits_resnet").name
    'digits_resnet.onnx'
    """
    files = sorted(path for path in data_folder("samples").iterdir() if path.suffix != ".md")
    for path in files:
        if name in (path.stem, path.name):
            return path
    raise OptionError(
        f"sample must be one of {', '.join(path.stem for path in files)}, got {name!r}", value=name
    )
