"""``stepgym tasks from-pypi | from-git``: tasks made of releases and commits."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from stepgym.errors import ConfigError, TaskError
from stepgym.evals.swe_making import Making, make_task
from stepgym.records import Task
from stepgym.store import write_whole, writing
from stepgym.tasks.swe import instance_of
from stepgym.tasks.swe_candidate import Candidate
from stepgym.tasks.swe_python import cache_folder, locked
from stepgym.tasks.swe_source import scratch

FORM = "1"
"""Changes with what a task of the same releases comes out as, so that cached ones of another form are made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _MakeConfig:
    out: Path
    """The task file, .jsonl, to which the task is added; the repository's files are packed beside it."""
    repeats: int = 3
    """How often the tests run before, and after, the change; those that do not end alike each time are left out."""
    timeout: float = 600.0
    """Seconds that the tests may take."""
    requirements: tuple[str, ...] = ()
    """Packages that the tests need beside those that the metadata names."""
    force: bool = False
    """Make it again if it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPypiConfig(_MakeConfig):
    """Make a software-engineering task of two releases of a package."""

    name: Positional[str]
    """The package."""
    old: Positional[str]
    """The version that is to be changed."""
    new: Positional[str]
    """The version whose tests are to pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromGitConfig(_MakeConfig):
    """Make a software-engineering task of commits of a local repository."""

    repository: Positional[Path]
    """Its folder."""
    range: Positional[str]
    """BASE..HEAD: the commit that is to be changed, and the one whose tests are to pass."""


def from_pypi(config: FromPypiConfig) -> None:
    """Make a software-engineering task of two releases of a package."""
    from stepgym.evals.swe_download import sdist
    from stepgym.tasks.swe_pypi import releases

    def found(folder: Path) -> Candidate:
        for version in (config.old, config.new):
            _say(f"{config.name}: the sdist of {version}")
        old, new = sdist(config.name, config.old), sdist(config.name, config.new)
        return releases(config.name, old, new, (config.old, config.new), folder)

    _make(config, ("pypi", config.name.lower(), config.old, config.new), found)


def from_git(config: FromGitConfig) -> None:
    """Make a software-engineering task of commits of a local repository."""
    from stepgym.tasks.swe_git import commits

    _make(config, (), lambda folder: commits(config.repository, config.range, folder))


def _make(config: _MakeConfig, key: tuple[str, ...], found: Callable[[Path], Candidate]) -> None:
    """Make the task, or take it from the cache where `key` names it, and add it to the file."""
    if config.out.suffix != ".jsonl":
        raise ConfigError(f"{config.out}: the name must end in .jsonl, so that it can be loaded")
    if config.repeats < 1 or not config.timeout > 0:
        raise ConfigError("--repeats and --timeout must be positive")
    words = [FORM, *key, str(config.repeats), *sorted(config.requirements), *sys.version.split()[:1]]
    kept = cache_folder() / "tasks" / hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
    if key and not config.force and (kept / "task.json").is_file():
        task = Task.from_json((kept / "task.json").read_text(encoding="utf-8"))
        _say(f"{task.id}: taken from the cache, {kept}")
        _add(config, task, kept / _archive(task))
        return
    with scratch() as folder:
        candidate = found(Path(folder))
        archive = Path(folder) / f"{candidate.id}.tar.gz"
        making = Making(repeats=config.repeats, timeout=config.timeout, requirements=config.requirements)
        task = make_task(candidate, archive, making, _say)
        if key:
            with writing(kept):
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(archive, kept / archive.name)
            write_whole(kept / "task.json", task.to_json() + "\n")
        _add(config, task, archive)


def _archive(task: Task) -> str:
    return f"{task.id}.tar.gz"


def _add(config: _MakeConfig, task: Task, archive: Path) -> None:
    """Put the archive beside the task file, and the task's line into it, in the place of one of its id."""
    name = hashlib.sha256(str(config.out.absolute()).encode()).hexdigest()[:24]
    with locked(cache_folder() / "locks" / name):
        _write(config, task, archive)


def _write(config: _MakeConfig, task: Task, archive: Path) -> None:
    lines = [line for line in _lines(config.out) if line.strip()]
    others = [line for line in lines if _id(line, config.out) != task.id]
    if len(others) < len(lines):
        _say(f"{config.out} has {task.id} already; it is replaced")
    with writing(config.out):
        config.out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, config.out.with_name(_archive(task)))
    write_whole(config.out, "".join(f"{line}\n" for line in [*others, task.to_json()]))
    instance = instance_of(task)
    _say(
        f"{task.id}: {len(instance.fail_to_pass)} tests to fix, {len(instance.pass_to_pass)} to keep; "
        f"written to {config.out}, which has {len(others) + 1} tasks"
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: cannot be read ({error})") from error


def _id(line: str, path: Path) -> str:
    try:
        return Task.from_json(line).id
    except ConfigError as error:
        raise TaskError(f"{path} holds something else than tasks ({error}); choose another name") from error


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
