"""From a name, a path or a data set to a tuple of tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from itertools import count
from pathlib import Path

from stepgym.errors import ConfigError, MissingDependencyError, TaskError
from stepgym.records import Task
from stepgym.registry import unknown
from stepgym.tasks import FAMILIES
from stepgym.tasks.family import FamilySpec
from stepgym.tasks.fields import Fields
from stepgym.tasks.hub import read_hub
from stepgym.tasks.mapping import Rules, to_task
from stepgym.tasks.recorded import format_of
from stepgym.tasks.rows import SUFFIXES, Row, files_in, read_rows
from stepgym.tasks.sets import SETS, set_of_file
from stepgym.tasks.swe_rows import is_instance
from stepgym.tasks.swe_source import with_source

WORKED = "worked"
"""The name of the hand-written problems that come with the package."""
SMALL = "swe-small"
"""The name of the small repositories with bugs that come with the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a name stands for."""

    name: str
    kind: str
    """``family``, ``benchmark`` or ``written``."""
    about: str
    hub: str = ""
    """The data set on the hub that a benchmark can be got from."""
    path: str = ""
    """The benchmark's file, if it is here."""


def names() -> list[str]:
    """Everything `load` knows by name: families, benchmarks, ``worked`` and ``swe-small``."""
    return [entry.name for entry in listing()]


def listing() -> list[Listing]:
    """The same with a line on each, in the order of the names."""
    entries = [
        Listing(name=WORKED, kind="written", about="worked problems that come with the package"),
        Listing(name=SMALL, kind="written", about="small repositories with bugs that come with the package"),
    ]
    for name, path in FAMILIES.items():
        about = (import_module(path.partition(":")[0]).__doc__ or "").partition("\n")[0]
        entries.append(Listing(name=name, kind="family", about=about))
    for name, known in SETS.items():
        file = path_of(name)
        entries.append(
            Listing(name=name, kind="benchmark", about=known.about, hub=known.hub, path=str(file) if file else "")
        )
    return sorted(entries, key=lambda entry: entry.name)


def load(
    source: str | os.PathLike[str] | Sequence[Task],
    *,
    limit: int | None = None,
    fields: Fields | None = None,
    answerless: bool = False,
    broken: Callable[[TaskError], None] | None = None,
) -> tuple[Task, ...]:
    """The tasks of a source, in its order; at most the first `limit`.

    A source is a benchmark's name (``aime24``), ``worked``, ``swe-small``, a family
    (``arithmetic?level=3&count=256&split=test``, and ``seed=1``), a path to a .jsonl, .json or .parquet file, a
    recorded run of a software-engineering agent (.traj, .traj.json) or a folder of them, a task repository of
    swebench 5, a data set of the hub (``hf:owner/name?split=train``), or tasks, which are checked and given back.

    Further runs at one instance get its id with ``~2``, ``~3`` and so on; a software-engineering row that is there
    twice, word for word, is one task. `fields` names the columns of a file or data set whose names are not the usual
    ones, and `answerless` lets rows without a gold answer pass. `broken` is called for each row of a file that cannot
    be used, and the others go on; without it the first such row raises.

    Raises `TaskError`, `ConfigError`, `UnknownNameError` or `MissingDependencyError`, each with one clear sentence.
    """
    if limit is not None and limit < 0:
        raise ConfigError(f"limit must not be negative, but is {limit}")
    if not isinstance(source, str | os.PathLike | Sequence):
        raise ConfigError(
            f"tasks are given as a set's name, a path, or a sequence of Task, not as {type(source).__name__}"
            + ("; one task is [task]" if isinstance(source, Task) else "")
        )
    if isinstance(source, Sequence) and not isinstance(source, str):
        return _checked(source)[:limit]
    if isinstance(source, str) and source.partition("?")[0] in FAMILIES:
        return _generated(FamilySpec.parse(source), limit)
    if source == WORKED:
        return _from_file(Path(__file__).with_name("worked.jsonl"), Rules(name=WORKED), limit)
    if source == SMALL:
        from stepgym.tasks.swe_small import small_tasks

        return small_tasks()[:limit]
    if isinstance(source, str) and source in SETS:
        return _named(source, _rules(source, fields, answerless), limit)
    if isinstance(source, str) and source.startswith("hf:"):
        data_set = source.removeprefix("hf:")
        return _collect(read_hub(data_set), _rules(data_set.partition("?")[0], fields, answerless), limit)
    if isinstance(source, str) and not _is_path(source):
        raise unknown("task set (nor a .jsonl, .json, .parquet or .traj file)", source.partition("?")[0], names())
    path = Path(source)
    rules = _rules(set_of_file(path.stem) or path.stem, fields, answerless)
    if broken:
        return _collect(read_rows(path), rules, limit, place=str(path), broken=broken)
    return _from_file(path, rules, limit)


def path_of(name: str) -> Path | None:
    """The file of a named benchmark under ``$STEPGYM_DATA``, if it is there."""
    folder = os.environ.get("STEPGYM_DATA")
    if not folder:
        return None
    places = (Path(folder), Path(folder) / "math")
    files = (place / f"{SETS[name].file}{suffix}" for place in places for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _rules(name: str, fields: Fields | None, answerless: bool) -> Rules:
    known = SETS.get(name)
    return Rules(
        name=name,
        fields=fields or Fields(),
        whole_numbers=known is not None and known.whole_numbers,
        short_solutions=known is not None and known.short_solutions,
        answerless=answerless or (known is not None and known.answerless),
    )


def _named(name: str, rules: Rules, limit: int | None) -> tuple[Task, ...]:
    if path := path_of(name):
        return _from_file(path, rules, limit)
    known = SETS[name]
    remedy = f"put {known.file}.jsonl into a folder and name the folder in STEPGYM_DATA"
    try:
        return _collect(read_hub(known.hub), rules, limit)
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"task set {name!r} is not here: {remedy}, or get it from the hub: {error}"
        ) from error
    except TaskError as error:
        raise TaskError(f"task set {name!r} is not here: {remedy}, or get it from the hub: {error}") from error


def _is_path(source: str) -> bool:
    return source.endswith(SUFFIXES) or os.sep in source or os.path.exists(source)


def _from_file(path: Path, rules: Rules, limit: int | None) -> tuple[Task, ...]:
    try:
        files = files_in(path) if path.is_dir() else [path]
        stats = [file.stat() for file in files]
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from error
    return _read_once(path, tuple((stat.st_mtime_ns, stat.st_size) for stat in stats), rules, limit)


# Many environments open the same tasks; they are immutable, so one copy serves them all.
@lru_cache(maxsize=16)
def _read_once(path: Path, stamp: tuple[tuple[int, int], ...], rules: Rules, limit: int | None) -> tuple[Task, ...]:  # noqa: ARG001
    return _collect(read_rows(path), rules, limit, place=str(path))


@lru_cache(maxsize=16)
def _generated(spec: FamilySpec, limit: int | None) -> tuple[Task, ...]:
    return spec.tasks(limit)


def _collect(
    rows: Iterable[Row],
    rules: Rules,
    limit: int | None,
    *,
    place: str = "",
    broken: Callable[[TaskError], None] | None = None,
) -> tuple[Task, ...]:
    tasks: dict[str, Task] = {}
    places: dict[str, str] = {}
    for row, task in _each(rows, rules, broken) if limit != 0 else ():
        if task.id in tasks and format_of(row.values):
            task = _further(task, places)
        if task.id in tasks and is_instance(row.values) and task == tasks[task.id]:
            continue
        if task.id in tasks:
            error = TaskError(f"{row.where}: the id {task.id!r} is taken by {places[task.id]}")
            if not broken:
                raise error
            broken(error)
            continue
        places[task.id] = row.where
        tasks[task.id] = task
        if len(tasks) == limit:
            break
    if not tasks and limit != 0 and not broken:
        raise TaskError(f"{place or rules.name}: there is no task in it")
    return tuple(tasks.values())


def _each(rows: Iterable[Row], rules: Rules, broken: Callable[[TaskError], None] | None) -> Iterator[tuple[Row, Task]]:
    for index, row in enumerate(rows):
        try:
            yield row, with_source(to_task(row, index, rules), row.where)
        except TaskError as error:
            if not broken:
                raise
            broken(error)


def _further(task: Task, taken: Container[str]) -> Task:
    """A further run at an instance, with a number behind its id."""
    return replace(task, id=next(name for n in count(2) if (name := f"{task.id}~{n}") not in taken))


def _checked(tasks: Sequence[Task]) -> tuple[Task, ...]:
    seen: set[str] = set()
    for index, task in enumerate(tasks):
        if not isinstance(task, Task):
            raise TaskError(f"tasks[{index}] is a {type(task).__name__}, not a Task")
        if not task.id or not task.prompt.strip():
            raise TaskError(f"tasks[{index}] has an empty {'prompt' if task.id else 'id'}")
        if task.id in seen:
            raise TaskError(f"tasks[{index}]: the id {task.id!r} is taken by an earlier task")
        seen.add(task.id)
    return tuple(tasks)
