"""``stepgym tasks list | show | export``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tyro.conf import Positional

from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.store import write_whole
from stepgym.tasks.fields import Fields
from stepgym.tasks.loading import Listing, listing, load


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConfig:
    """List the task sets that are known by name."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowConfig:
    """Print the tasks of a source, with their answers."""

    source: Positional[str]
    """A set's name, a family (arithmetic?level=3&count=9), a file, or hf:owner/name."""
    index: int | None = None
    """Print this one only; 0 is the first."""
    limit: int = 5
    """Print this many at most."""
    json: bool = False
    """Print task JSONL instead."""
    fields: Fields = field(default_factory=Fields)
    """Columns of a foreign file."""
    answerless: bool = False
    """Let rows without a gold answer pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Write the tasks of a source as task JSONL, which loads again as the same tasks."""

    source: Positional[str]
    """A set's name, a family (arithmetic?level=3&count=9), a file, or hf:owner/name."""
    out: Positional[Path]
    """The file to write."""
    limit: int | None = None
    """Write this many at most."""
    force: bool = False
    """Replace the file if there is one."""
    fields: Fields = field(default_factory=Fields)
    """Columns of a foreign file."""
    answerless: bool = False
    """Let rows without a gold answer pass."""


def list_sets(config: ListConfig) -> None:
    """Print every task set that has a name, and whether its data is here."""
    entries = listing()
    if config.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    wide = max(len(entry.name) for entry in entries)
    kind = max(len(entry.kind) for entry in entries)
    for entry in entries:
        print(f"{entry.name:<{wide}}  {entry.kind:<{kind}}  {entry.about}{_place(entry)}")


def show(config: ShowConfig) -> None:
    """Print tasks in full, or as JSON lines."""
    if config.index is not None and config.index < 0:
        raise ConfigError(f"--index must not be negative, but is {config.index}")
    first = config.index or 0
    count = 1 if config.index is not None else config.limit
    tasks = load(config.source, limit=first + count, fields=config.fields, answerless=config.answerless)
    if config.index is not None and first >= len(tasks):
        raise ConfigError(f"{config.source} has {len(tasks)} tasks, so there is no --index {first}; the first one is 0")
    if config.json:
        print(_lines(tasks[first:]), end="")
        return
    print("\n\n".join(_visible(_described(task)) for task in tasks[first:]))


def export(config: ExportConfig) -> None:
    """Write the tasks of a source to a file that loads again, whole or not at all."""
    if config.out.exists() and not config.force:
        raise ConfigError(f"{config.out} exists; choose another name, or replace it with --force")
    if config.out.suffix != ".jsonl":
        raise ConfigError(f"{config.out}: the name must end in .jsonl, so that it can be loaded again")
    tasks = load(config.source, limit=config.limit, fields=config.fields, answerless=config.answerless)
    write_whole(config.out, _lines(tasks))
    print(f"{len(tasks)} tasks in {config.out}", file=sys.stderr)


def _lines(tasks: Iterable[Task]) -> str:
    return "".join(f"{task.to_json()}\n" for task in tasks)


def _place(entry: Listing) -> str:
    return f" ({entry.path or 'not here: ' + entry.hub})" if entry.hub else ""


def _described(task: Task) -> str:
    lines = [f"== {task.id}", task.prompt, "", f"answer: {task.answer or '(none)'}"]
    for title, texts in (("steps", task.steps), ("sub-questions", task.subquestions)):
        if texts:
            lines += [f"{title}:", *(f"  {text}".replace("\n", "\n  ") for text in texts)]
    if task.hint:
        lines.append(f"hint: {task.hint}")
    return "\n".join(lines)


def _visible(text: str) -> str:
    """Control characters of foreign data must not reach the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
