"""The Python environments that tests of tasks without an image need: pytest, and what the package depends on.

They are made on this machine, of wheels alone, so that installing runs no code of the packages; they are kept, and a
sandbox sees them read-only at `stepgym.tasks.swe.ENVIRONMENT`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepgym.errors import MissingDependencyError, TaskError
from stepgym.tasks.swe import ENVIRONMENT

SECONDS = 900
"""What pip may take at one time."""
_REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]{0,100}(\[[\w.,\s-]{1,200}\])?[^\n\x00/@]{0,300}", re.ASCII)


def cache_folder() -> Path:
    """Where things are kept that can be made again: ``$XDG_CACHE_HOME/stepgym``, or ``~/.cache/stepgym``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepgym"


def environment(requirements: Sequence[str]) -> Path:
    """The folder of an environment with these packages, for a sandbox to see at `ENVIRONMENT`; made if it is not there.

    Raises `TaskError` where a package cannot be had as a wheel.
    """
    wanted = sorted(map(_checked, requirements))
    python = f"{sys.implementation.cache_tag} {sys.base_prefix}"
    name = hashlib.sha256("\n".join([python, *wanted]).encode()).hexdigest()[:24]
    folder = cache_folder() / "environments" / name
    with locked(folder.with_suffix(".lock")):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _make(folder, wanted)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return folder


def pinned(requirements: Sequence[str]) -> tuple[str, ...]:
    """The requirements and all they depend on, with their versions, as wheels of them can be had now.

    Raises `TaskError`, with what pip says, where they cannot.
    """
    words = ["install", "--dry-run", "--ignore-installed", "--report", "-", "--only-binary", ":all:", "--quiet"]
    report: Any = json.loads(_pip(*words, *map(_checked, requirements)))
    found = (entry["metadata"] for entry in report["install"])
    return tuple(sorted(f"{metadata['name'].lower()}=={metadata['version']}" for metadata in found))


def _make(folder: Path, wanted: Sequence[str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    if wanted:
        python = str(folder / "bin" / "python")
        _pip("--python", python, "install", "--no-deps", "--only-binary", ":all:", "--quiet", *wanted)
    here, there = f"#!{folder}/bin/".encode(), f"#!{ENVIRONMENT}/bin/".encode()
    for script in (folder / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and (content := script.read_bytes()).startswith(here):
            script.write_bytes(there + content.removeprefix(here))
    (folder / "ready").touch()


def _pip(*words: str) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TaskError(f"pip took more than {SECONDS} s; is the package index within reach?") from error
    if "No module named pip" in done.stderr:
        raise MissingDependencyError("pip is not installed; python -m ensurepip brings it")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise TaskError(f"pip cannot install as wheels {' '.join(words[-8:])}: {' '.join(said)[-600:]}")
    return done.stdout


def _checked(requirement: str) -> str:
    """The requirement, if it names a package of an index, and nothing that pip takes for an option, a URL or a path."""
    if not _REQUIREMENT.fullmatch(requirement.strip()):
        raise TaskError(f"{requirement!r} is not a package's name with its version")
    return requirement.strip()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, for which other processes wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
