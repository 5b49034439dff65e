"""Dataclasses to JSON values and back, driven by their type hints.

Records on disk and configuration files go through these two functions, so that a field that does not fit is reported by
its path (``task.steps[2]: expected text, got a number``) instead of surfacing as an AttributeError an hour later.
NaN, which JSON lacks, is written as null and read back as NaN where a float is expected.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from stepgym.errors import ConfigError
from stepgym.registry import unknown

T = TypeVar("T")

EMPTY: tuple[Any, ...] = (None, "", (), {})


def encode(value: Any) -> Any:
    """The JSON value of a dataclass, or of anything built from dataclasses, enums, paths, sequences and mappings.

    Fields that are empty by default, and empty, are left out; every other default is written, so that a file keeps its
    meaning when a default changes.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value) if not _is_empty_default(f, value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [encode(item) for item in value]
    return value


def _is_empty_default(field: Field[Any], value: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    held = getattr(value, field.name)
    return default in EMPTY and held in EMPTY and held == default


def decode(kind: type[T], value: Any, *, where: str = "") -> T:
    """Build a `kind` from the JSON value that `encode` made.

    Raises `ConfigError` naming the place that does not fit; `where` is what that place's path begins with.
    """
    made: T = _decode(kind, value, where or getattr(kind, "__name__", str(kind)).lower())
    return made


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(kind, value, where)
    if origin is Literal:
        return _one_of(get_args(kind), value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(_one_of([member.value for member in kind], value, where))
    if origin is tuple or origin is list or origin is Sequence:
        return _decode_sequence(kind, value, where)
    if origin is Mapping or origin is dict:
        _expect(isinstance(value, Mapping), "a table", value, where)
        return {key: _decode(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    return _decode_plain(kind, value, where)


def decode_fields(kind: Any, value: Any, *, where: str) -> dict[str, Any]:
    """The fields of the dataclass `kind` that `value` gives, decoded; required ones may be absent."""
    _expect(isinstance(value, Mapping), "a table", value, where)
    hints = _hints(kind)
    for name in value:
        if name not in hints:
            raise ConfigError(f"{where}: {unknown('field', name, hints)}")
    return {name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()}


def is_required(field: Field[Any]) -> bool:
    """True if a dataclass field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    given = decode_fields(kind, value, where=where)
    missing = [f.name for f in fields(kind) if f.name not in given and is_required(f)]
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} missing")
    return kind(**given)


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _decode_union(kind: Any, value: Any, where: str) -> Any:
    options = get_args(kind)
    if value is None and type(None) in options:
        return None
    failures = []
    for option in options:
        if option is not type(None):
            try:
                return _decode(option, value, where)
            except ConfigError as error:
                failures.append(str(error))
    raise ConfigError("; or ".join(failures))


def _decode_sequence(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, Sequence) and not isinstance(value, str), "a list", value, where)
    item_kind = get_args(kind)[0]
    items = [_decode(item_kind, item, f"{where}[{i}]") for i, item in enumerate(value)]
    return items if get_origin(kind) is list else tuple(items)


def _decode_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float:
        if value is None:
            return math.nan
        _expect(isinstance(value, int | float) and not isinstance(value, bool), "a number", value, where)
        return float(value)
    if kind is Path:
        _expect(isinstance(value, str), "a path", value, where)
        return Path(value)
    names = {str: "text", int: "a whole number", bool: "true or false"}
    _expect(type(value) is kind, names.get(kind, str(kind)), value, where)
    return value


def _one_of(options: Sequence[Any], value: Any, where: str) -> Any:
    if value not in options:
        raise ConfigError(f"{where}: expected one of {', '.join(map(repr, options))}, got {value!r}")
    return value


def _expect(fits: bool, expected: str, value: Any, where: str) -> None:
    if not fits:
        raise ConfigError(f"{where}: expected {expected}, got {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
