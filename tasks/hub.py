"""Rows of a data set on the HuggingFace hub, through the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl

from stepgym.errors import ConfigError, MissingDependencyError, TaskError
from stepgym.registry import unknown
from stepgym.tasks.rows import Row

SETTINGS = ("split", "config", "revision")


def read_hub(source: str) -> Iterator[Row]:
    """The rows of ``owner/name?split=train&config=main&revision=…``; without a split, of ``train``.

    Raises `MissingDependencyError` without the `datasets` library, and `TaskError` if it cannot get the data set.
    """
    name, _, query = source.partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    for key in settings:
        if key not in SETTINGS:
            raise ConfigError(f"{source!r}: {unknown('setting', key, SETTINGS)}")
    split = settings.get("split", "train")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingDependencyError(
            f"getting {name!r} from the hub needs the datasets library: pip install 'stepgym[data]'"
        ) from error
    try:
        rows = load_dataset(name, settings.get("config"), split=split, revision=settings.get("revision"))
    except Exception as error:  # the library, its HTTP client and its file systems share no base class
        raise TaskError(f"cannot get {name!r} (split {split}) from the hub ({_first_line(error)})") from error
    for index, row in enumerate(rows):
        yield Row(f"{name}[{index}]", row)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
