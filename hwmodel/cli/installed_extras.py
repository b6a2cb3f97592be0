"""Which of a distribution's requirements are installed, and in which version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata, requires
from typing import TYPE_CHECKING

from hwmodel.cli.versions import version_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True)
class Required:
    """One requirement as it is met.

    Parameters
    ----------
    name : str
        Distribution.
    bounds : str
        Of its version, e.g. ``">=1.18"``; may be empty.
    version : str or None
        Installed; None if it is missing.
    """

    name: str
    bounds: str
    version: str | None

    @property
    def fits(self) -> bool:
        """Whether it is there in a version within the bounds."""
        from packaging.specifiers import SpecifierSet

        return self.version is not None and SpecifierSet(self.bounds).contains(self.version, prereleases=True)


def extra_names(distribution: str = "bitx") -> list[str]:
    """Names of a distribution's extras, in the order of its metadata.

    Examples
    --------
    >>> "onnx" in extra_names()
    True
    """
    return metadata(distribution).get_all("Provides-Extra") or []


def required(distribution: str = "bitx", extra: str = "") -> list[Required]:
    """List what an extra requires besides the distribution itself; without a name, what always is required.

    Extras that it names in turn are followed; what does not apply to this Python or system is left out.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If the distribution is not installed.

    Examples
    --------
    >>> [needed.name for needed in required(extra="onnx")]
    ['onnx', 'onnxruntime']
    """
    found: dict[str, Required] = {}
    for needed in _followed(distribution, extra, set()):
        found.setdefault(needed.name, Required(needed.name, f"{needed.specifier}", version_of(needed.name)))
    return list(found.values())


def _followed(distribution: str, extra: str, seen: set[tuple[str, str]]) -> Iterator[Requirement]:
    """Find the requirements of an extra only, and of the extras that these name."""
    from packaging.requirements import Requirement

    if (distribution, extra) in seen:
        return
    seen.add((distribution, extra))
    for text in requires(distribution) or []:
        needed = Requirement(text)
        marker = needed.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if extra and (always or marker is None or not marker.evaluate({"extra": extra})):
            continue
        if not extra and not always:
            continue
        if needed.name != distribution:
            yield needed
        if needed.name == distribution or version_of(needed.name) is not None:
            for name in sorted(needed.extras):
                yield from _followed(needed.name, name, seen)
