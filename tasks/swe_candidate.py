"""What may become a task: a repository before and after a change. Its lists of tests are found by running it.

The change is cut in two: what it does to tests is the test patch, and the rest the gold patch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stepgym.errors import TaskError
from stepgym.tasks.swe_patch import is_test
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_source import commit, git

LONGEST_ISSUE = 16_384
"""Characters of a problem statement; the rest is left out."""
CHANGELOGS = ("change", "history", "news", "release", "whatsnew", "versions")
"""What the names of files begin with that tell what a release changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A repository at its base, with the two halves of a change to it."""

    id: str
    repo: str
    version: str
    """Of the base."""
    folder: Path
    """The files of the base, as a git repository of one commit."""
    base_commit: str
    gold: str
    test_patch: str
    test_files: tuple[str, ...]
    """The test modules that there are after the change."""
    issue: str
    """What the change is about in its author's words; "" if nothing says it."""
    requirements: tuple[str, ...] = ()
    """Python packages that the tests need, as pip takes them; not pinned."""
    paths: tuple[str, ...] = ()
    """Folders of the repository that Python imports from, beside its root."""


def candidate(
    id: str, repo: str, version: str, folder: Path, after: Path, *, issue: str = "", requirements: Iterable[str] = ()
) -> Candidate:
    """The candidate of two folders. `folder` is made a repository, `after` is used up; both must be of one's own.

    Raises `TaskError` where the change has not two halves.
    """
    base = commit(folder)
    gold, test_patch = halves(folder, after)
    if not gold or not test_patch:
        raise TaskError(f"{id}: nothing is changed but {'tests' if test_patch else 'what is no test'}; both are needed")
    return Candidate(
        id=id,
        repo=repo,
        version=version,
        folder=folder,
        base_commit=base,
        gold=gold,
        test_patch=test_patch,
        test_files=tuple(_modules(folder, after)),
        issue=issue or told(folder, gold),
        requirements=tuple(requirements),
        paths=tuple(name for name in ("src", "lib") if (folder / name).is_dir()),
    )


def halves(folder: Path, after: Path) -> tuple[str, str]:
    """The change between two folders: what it does to other files, and what to tests. Binary files are left out.

    Both are diffs of git's, "" for none.
    """
    head = git(folder, "rev-parse", "HEAD").strip()
    shutil.rmtree(after / ".git", ignore_errors=True)
    shutil.copytree(folder / ".git", after / ".git", symlinks=True)
    git(after, "add", "--all", "--force", ".")
    kinds = git(after, "diff", "--cached", "--numstat", "-z", "--no-renames", head)
    paths = [entry.split("\t", 2)[2] for entry in kinds.split("\0") if entry and not entry.startswith("-\t-\t")]
    shutil.rmtree(after / ".git" / "hooks", ignore_errors=True)
    tests = [path for path in paths if is_test(path)]
    others = [path for path in paths if not is_test(path)]
    return _diff(after, head, others), _diff(after, head, tests)


def _diff(folder: Path, head: str, paths: list[str]) -> str:
    if not paths:
        return ""
    if any(os.fsencode(path) != path.encode("utf-8", "replace") for path in paths):
        raise TaskError("a changed file has a name that is not UTF-8")
    literal = [f":(literal){path}" for path in paths]
    diff = git(folder, "diff", "--cached", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames",
               head, "--", *literal)  # fmt: skip
    if any("\udc80" <= character <= "\udcff" for character in diff):
        raise TaskError("a changed file is neither UTF-8 nor binary, so that no diff of it can be kept as text")
    return diff


def _modules(folder: Path, after: Path) -> list[str]:
    """The test modules after the change, by pytest's rule for their names."""
    found = []
    for place in sorted(after.rglob("*.py")):
        path = PurePosixPath(place.relative_to(after).as_posix())
        named = path.name.startswith("test_") or path.name.endswith("_test.py")
        if named and is_test(str(path)) and not place.is_symlink() and ".git" not in path.parts:
            found.append(str(path))
    if not found:
        raise TaskError(f"{folder.name}: there are no test modules (test_*.py, *_test.py) after the change")
    return found


def told(folder: Path, gold: str) -> str:
    """The lines that a change adds to a changelog; "" if it adds none."""
    for change in changes(gold):
        name = PurePosixPath(change.path)
        if name.stem.lower().startswith(CHANGELOGS) and name.suffix.lower() in ("", ".md", ".rst", ".txt"):
            added = [line[1:].rstrip() for line in change.hunks if line.startswith("+")]
            text = "\n".join(added).strip()
            if text and (folder / change.path).exists():
                return text[:LONGEST_ISSUE]
    return ""
