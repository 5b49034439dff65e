"""Unified diffs of git's: which files they change, how, and what is wrong with them.

What is written back (`Diff.text`) holds only what was understood, so that no tool that applies it sees other files than
were looked at here. Whether it applies to a repository is for that tool to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import dropwhile, takewhile
from pathlib import PurePosixPath

TEST_FOLDERS = frozenset({"test", "tests", "testing", "e2e"})
"""As SWE-bench tells test files from others, but by whole names of folders."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SYMLINK, SUBMODULE = "120000", "160000"


class Change(StrEnum):
    """What a diff does to a file."""

    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"
    RENAMED = "renamed"
    COPIED = "copied"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePatch:
    """The part of a diff about one file."""

    path: str
    """Where the file is afterwards or, of a deleted one, was; relative to the repository."""
    before: str
    """Where it was; empty for one that was not."""
    change: Change
    text: str
    """This part of the diff, from its header on."""
    binary: bool = False
    modes: tuple[str, ...] = ()
    """File modes that its header names, octal."""
    flaw: str = ""
    """Why it cannot be applied, or nothing."""

    @property
    def after(self) -> str:
        """Where the file is afterwards; empty for one that is deleted."""
        return "" if self.change is Change.DELETED else self.path

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that it touches."""
        return tuple(dict.fromkeys(path for path in (self.before, self.path) if path))

    @property
    def unsafe(self) -> str:
        """Why it must not be applied, or nothing: it may reach outside of the repository."""
        for path in self.paths:
            if (why := unsafe_path(path)) != "":
                return why
        if SYMLINK in self.modes:
            return "a symbolic link"
        return "a submodule" if SUBMODULE in self.modes else ""

    @property
    def body(self) -> str:
        """The change without the names of blobs, by which two diffs of one change may differ."""
        return "\n".join(line for line in self.text.split("\n") if not line.startswith("index "))

    @property
    def header(self) -> tuple[str, ...]:
        """The lines before the first hunk."""
        return tuple(takewhile(_is_header, self._lines()))

    @property
    def hunks(self) -> tuple[str, ...]:
        """The lines from the first hunk on."""
        return tuple(dropwhile(_is_header, self._lines()))

    def lines(self, sign: str) -> Iterator[str]:
        """The lines of its hunks that are added (``+``), removed (``-``) or kept (a space)."""
        return (line[1:] for line in self.hunks if line.startswith(sign))

    def _lines(self) -> list[str]:
        return self.text.removesuffix("\n").split("\n")


def _is_header(line: str) -> bool:
    return not line.startswith("@@ ")


def unsafe_path(path: str) -> str:
    """Why a path of a diff must not be written to, or nothing."""
    parts = path.split("/")
    if path.startswith("/"):
        return "an absolute path"
    if ".." in parts:
        return "a path with '..'"
    if any(part.lower() == ".git" for part in parts):
        return "a path inside .git"
    return "a path with control characters" if _CONTROL.search(path) else ""


@dataclass(frozen=True, slots=True)
class Diff:
    """A whole diff."""

    files: tuple[FilePatch, ...] = ()
    flaw: str = ""
    """What is wrong with it as a whole, or nothing."""
    ended: bool = True
    """False where the last line of its last file has no end, for which git refuses it and patch may."""

    @property
    def text(self) -> str:
        """The diff as git would write it; empty where nothing was understood."""
        text = "".join(file.text for file in self.files)
        return text if self.ended else text.removesuffix("\n")

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that it touches, in order, each once."""
        return tuple(dict.fromkeys(path for file in self.files for path in file.paths))

    @property
    def flaws(self) -> tuple[str, ...]:
        """Why it cannot be applied, a sentence each."""
        found = tuple(f"{file.path or 'a file without a name'}: {file.flaw}" for file in self.files if file.flaw)
        return (self.flaw, *found) if self.flaw else found

    def without(self, paths: Collection[str]) -> Diff:
        """What is left when every part that touches one of `paths` is taken out."""
        return self._of(tuple(file for file in self.files if not set(file.paths) & set(paths)))

    def only(self, paths: Collection[str]) -> Diff:
        """The parts that touch one of `paths`."""
        return self._of(tuple(file for file in self.files if set(file.paths) & set(paths)))

    def _of(self, files: tuple[FilePatch, ...]) -> Diff:
        return Diff(files, self.flaw, ended=self.ended or not files or files[-1] is not self.files[-1])


def is_test(path: str) -> bool:
    """Whether a file belongs to a repository's tests: by the folder it lies in, or by its name."""
    parts = PurePosixPath(path).parts
    name = parts[-1] if parts else ""
    named = name == "conftest.py" or (name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py")))
    return named or bool(TEST_FOLDERS & set(parts[:-1]))
