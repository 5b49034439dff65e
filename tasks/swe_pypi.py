"""Two releases of a package, from their sdists, as a candidate: the old one is the base, the new one the change.

The change to the tests is the test patch and all other changes are the gold patch; what the changelog says of the new
release is the issue. An sdist is unpacked and read here, and nothing of it is run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from stepgym.errors import TaskError
from stepgym.tasks.swe_candidate import Candidate, candidate
from stepgym.tasks.swe_source import unpack, write_files

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", re.ASCII)
VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]{0,60}", re.ASCII)
TEST_EXTRAS = frozenset({"test", "tests", "testing"})
"""Extras whose packages the tests are taken to need."""
MOST_METADATA = 4 << 20


def releases(name: str, old: Path, new: Path, versions: tuple[str, str], scratch: Path) -> Candidate:
    """The candidate of two sdists, whose files are laid out below `scratch`.

    Raises `TaskError` for an sdist that cannot be unpacked, or has no tests, or where nothing but tests is changed.
    """
    before, after = _tree(old, scratch / name), _tree(new, scratch / "after")
    told = _metadata(before)
    needed = sorted(set(_requirements(_metadata(after), after, name)))
    installed = _installed(before, told, name, versions[0])
    for tree in (before, after):
        _strip(tree)
        write_files(installed, tree)  # the same in both, so that it is no part of the change
    found = candidate(
        f"{_plain(name)}__{versions[0]}-{versions[1]}", name, versions[0], before, after, requirements=needed
    )
    return found if not found.issue else _with_issue(found, name, versions)


def _with_issue(found: Candidate, name: str, versions: tuple[str, str]) -> Candidate:
    from dataclasses import replace

    asked = (
        f"This is {name} {versions[0]}. Change it so that it does what the changelog of {versions[1]} says:\n\n"
        f"{found.issue}"
    )
    return replace(found, issue=asked)


def _tree(archive: Path, folder: Path) -> Path:
    """The files of an sdist, without the folder that holds them all."""
    whole = folder.with_name(f"{folder.name}.sdist")
    whole.mkdir(parents=True)
    unpack(archive, whole)
    inside = list(whole.iterdir())
    if len(inside) != 1 or not inside[0].is_dir() or inside[0].is_symlink():
        raise TaskError(f"{archive.name} is no sdist: it does not hold one folder")
    inside[0].rename(folder)
    shutil.rmtree(whole)
    return folder


def _metadata(tree: Path) -> Message:
    file = tree / "PKG-INFO"
    if not file.is_file() or file.is_symlink() or file.stat().st_size > MOST_METADATA:
        raise TaskError(f"the sdist of {tree.name} has no PKG-INFO that can be read")
    with file.open("rb") as opened:
        return BytesParser().parse(opened)


def _requirements(metadata: Message, tree: Path, name: str) -> Iterator[str]:
    """What the package and its tests need, by the metadata, or by setuptools' older file."""
    stated = [str(line) for line in metadata.get_all("Requires-Dist", [])] or list(_older(tree))
    for line in stated:
        package, _, marker = (" ".join(part.split()) for part in line.partition(";"))
        extras = re.findall(r"extra\s*==\s*['\"]([^'\"]{1,100})['\"]", marker)
        if extras and not TEST_EXTRAS & set(extras):
            continue
        extra = r"extra\s*==\s*['\"][^'\"]{1,100}['\"]"
        marker = re.sub(rf"\s*\band\s+{extra}|{extra}\s*(?:\band\b)?\s*", "", marker).strip()
        own = re.match(NAME, package)
        if own and _plain(own[0]) != _plain(name):
            yield f"{package}; {marker}" if marker else package


def _older(tree: Path) -> Iterator[str]:
    """The lines of ``requires.txt`` in the form of ``Requires-Dist``: its headings are ``[extra:marker]``."""
    for file in sorted(tree.glob("*.egg-info/requires.txt")) + sorted(tree.glob("*/*.egg-info/requires.txt")):
        if file.is_symlink() or file.stat().st_size > MOST_METADATA:
            continue
        condition = ""
        for line in file.read_text("utf-8", "replace").splitlines():
            if heading := re.fullmatch(r"\[([^:\]]*):?(.*)\]", line.strip()):
                extra, marker = heading[1], heading[2]
                parts = [f"({marker})" if marker else "", f'extra == "{extra}"' if extra else ""]
                condition = " and ".join(part for part in parts if part)
            elif line.strip():
                yield f"{line.strip()} ; {condition}" if condition else line.strip()
        return


def _installed(tree: Path, metadata: Message, name: str, version: str) -> dict[str, bytes]:
    """What `importlib.metadata` finds of the package where it is not installed: its version, and its entry points."""
    place = "src/" if (tree / "src").is_dir() else ""
    folder = f"{place}{_plain(name).replace('-', '_')}-{version}.dist-info"
    files = {f"{folder}/METADATA": metadata.as_bytes()}
    for points in [*tree.glob("*.egg-info/entry_points.txt"), *tree.glob("*/*.egg-info/entry_points.txt")]:
        if not points.is_symlink() and points.stat().st_size <= MOST_METADATA:
            files[f"{folder}/entry_points.txt"] = points.read_bytes()
    return files


def _strip(tree: Path) -> None:
    """Remove what the build of the sdist added, and a history if there is one."""
    for path in [tree / "PKG-INFO", tree / ".git", *tree.glob("*.egg-info"), *tree.glob("*/*.egg-info")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
