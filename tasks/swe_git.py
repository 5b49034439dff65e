"""A range of commits of a local repository as a candidate: the first is the base, the last the change."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from stepgym.errors import TaskError
from stepgym.tasks.swe_candidate import LONGEST_ISSUE, Candidate, candidate
from stepgym.tasks.swe_pypi import TEST_EXTRAS
from stepgym.tasks.swe_source import git


def commits(repository: Path, range_: str, scratch: Path) -> Candidate:
    """The candidate of ``BASE..HEAD``, whose files are laid out below `scratch`; the repository stays as it is.

    The messages of the commits are the issue. Raises `TaskError` for a range that there is not.
    """
    if not repository.is_dir():
        raise TaskError(f"{repository} is not a folder with a git repository")
    base, dots, head = range_.partition("..")
    if not dots or not base or not head.strip("."):
        raise TaskError(f"a range of commits is BASE..HEAD, not {range_!r}")
    first, last = (_commit(repository, name.strip(".")) for name in (base, head))
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", repository.resolve().name) or "repository"
    before, after = scratch / "before", scratch / "after"
    for place, commit in ((before, first), (after, last)):
        _lay_out(repository, commit, place)
    told = git(repository, "log", "--reverse", "--no-show-signature", "--format=%B", f"{first}..{last}").strip()
    return candidate(
        f"{name}__{last[:10]}", name, first[:10], before, after,
        issue=told[:LONGEST_ISSUE], requirements=_requirements(after),
    )  # fmt: skip


def _commit(repository: Path, name: str) -> str:
    try:
        return git(repository, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").splitlines()[-1]
    except TaskError as error:
        raise TaskError(f"{repository} has no commit {name!r}") from error


def _lay_out(repository: Path, commit: str, folder: Path) -> None:
    """The files of a commit, in a folder; the repository's own index and files are not touched."""
    folder.mkdir(parents=True)
    index = str(folder.with_name(f"{folder.name}.index"))
    git(repository, "read-tree", commit, GIT_INDEX_FILE=index)
    git(repository, "checkout-index", "--all", "--quiet", f"--prefix={folder}/", GIT_INDEX_FILE=index)


def _requirements(folder: Path) -> list[str]:
    """What ``pyproject.toml`` says that the package and its tests need."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        return []
    try:
        whole = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaskError(f"pyproject.toml of the change: not TOML ({error})") from error
    project = _table(whole.get("project"))
    groups = [_table(project.get("optional-dependencies")), _table(whole.get("dependency-groups"))]
    lists = [project.get("dependencies"), *(group.get(extra) for group in groups for extra in sorted(TEST_EXTRAS))]
    return [line for each in lists if isinstance(each, list) for line in each if isinstance(line, str)]


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
