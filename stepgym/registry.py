"""Names to import paths. Nothing is imported until it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from stepgym.errors import UnknownNameError

T = TypeVar("T")

SHOWN = 24
"""Most names that an error lists."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not in a table: suggests the nearest one, else lists what there is."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    hint = f"did you mean {close[0]!r}?" if close else f"known: {listed or 'none'}"
    return UnknownNameError(f"no {kind} named {name!r}; {hint}")


class Registry(Mapping[str, str], Generic[T]):
    """A read-only table ``name -> "module:attribute"``. Each package keeps one, as a literal, in its ``__init__``.

    Adding an alternative to a package is one file and one line in its table; the contract tests run over the table.
    """

    def __init__(self, kind: str, paths: Mapping[str, str]) -> None:
        self.kind = kind
        self._paths = dict(paths)

    def load(self, name: str) -> Any:
        """Import and return the attribute itself. Raises `UnknownNameError`."""
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)

    def make(self, name: str, /, **kwargs: Any) -> T:
        """Import the attribute and call it. Raises `UnknownNameError`."""
        made: T = self.load(name)(**kwargs)
        return made

    def __getitem__(self, name: str) -> str:
        if name not in self._paths:
            raise unknown(self.kind, name, self._paths)
        return self._paths[name]

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
