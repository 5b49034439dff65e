"""The files of a repository at its base, from where a task keeps them: a folder, an archive, or a file of the package.

What comes out is a repository of git's with a single commit, which is the same wherever it is made: the commit depends
on the files alone, and there is no history to read ahead in.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from stepgym.codec import encode
from stepgym.errors import MissingDependencyError, TaskError
from stepgym.records import Task
from stepgym.tasks.swe import KEY, instance_of

PACKAGED = "package:"
"""What the source of a task begins with that comes with the package; the rest is a path below ``stepgym/tasks``."""
MOST_BYTES = 2 << 30
MOST_FILES = 200_000
_DATE = "2020-01-01T00:00:00+0000"


def with_source(task: Task, where: str) -> Task:
    """The task of a file, with a relative source made absolute: it is relative to the file, ``file:line``."""
    swe = task.meta.get(KEY)
    source = swe.get("source") if isinstance(swe, Mapping) else None
    if not isinstance(source, str) or not source or source.startswith((PACKAGED, "/")):
        return task
    if ".." in PurePosixPath(source).parts:
        raise TaskError(f"{where}: the source {source!r} leads out of the file's folder")
    folder = Path(re.sub(r":\d+$|\[\d+\]$", "", where)).absolute().parent
    instance = replace(instance_of(task), source=str(folder / source))
    return replace(task, meta={**task.meta, KEY: encode(instance)})


def materialise(source: str, folder: Path) -> str:
    """Put the files of `Instance.source` into an empty folder, as a git repository; its only commit's hash.

    Raises `TaskError` for a source that is not there, damaged, or beyond `MOST_BYTES` or `MOST_FILES`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(__file__).parent / source.removeprefix(PACKAGED) if source.startswith(PACKAGED) else Path(source)
    if path.is_dir():
        shutil.copytree(path, folder, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    elif path.name.endswith(".txtar"):
        from stepgym.tasks.txtar import read_txtar

        write_files(
            {
                name.removeprefix("base/"): text.encode()
                for name, text in read_txtar(path).items()
                if name.startswith("base/")
            },
            folder,
        )
    elif path.is_file():
        unpack(path, folder)
    else:
        raise TaskError(f"the files of the repository are not at {path}, which the task's source names")
    return commit(folder)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files by their relative paths."""
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive into a folder, which nothing in it can lead out of. Raises `TaskError`."""
    size = count = 0

    def checked(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo | None:
        nonlocal size, count
        size, count = size + member.size, count + 1
        if size > MOST_BYTES or count > MOST_FILES:
            raise TaskError(f"{archive}: more than {MOST_BYTES >> 30} GiB or {MOST_FILES} files")
        return tarfile.data_filter(member, target)

    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter=checked)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{archive}: cannot be unpacked ({error})") from error


def pack(folder: Path, archive: Path) -> None:
    """Pack the files of a folder, without ``.git``; the same files give the same bytes."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if ".git" in name.parts[:1] or (path.is_dir() and not path.is_symlink()):
                continue
            member = tar.gettarinfo(path, str(name))
            member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
            if member.isreg():
                member.mode = 0o755 if member.mode & 0o100 else 0o644
                with path.open("rb") as file:
                    tar.addfile(member, file)
            elif member.issym():
                tar.addfile(member)


def commit(folder: Path) -> str:
    """Make a folder a repository whose single commit holds all its files; the commit's hash."""
    shutil.rmtree(folder / ".git", ignore_errors=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all", "--force", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", "base")
    return git(folder, "rev-parse", "HEAD").strip()


def git(folder: Path, *words: str, **environment: str) -> str:
    """What a command of git prints in a repository, untouched by this machine's and its users' settings.

    Raises `TaskError` with what it complained of.
    """
    settings = (
        "core.hooksPath=/dev/null",
        "core.autocrlf=false",
        "core.attributesFile=/dev/null",
        "core.excludesFile=/dev/null",
        "commit.gpgSign=false",
        "core.fileMode=true",
        "gc.auto=0",
        "core.fsmonitor=false",
        "core.quotePath=true",
        "safe.directory=*",
    )
    options = [word for setting in settings for word in ("-c", setting)]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    who = {
        f"GIT_{one}_{what}": value
        for one in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "base"), ("EMAIL", "base@localhost"), ("DATE", _DATE))
    }
    fixed = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C", "GIT_DEFAULT_HASH": "sha1"}
    try:
        done = subprocess.run(
            ["git", *options, *words],
            cwd=folder,
            env={**plain, **who, **fixed, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingDependencyError("git is not installed; software-engineering tasks need it") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise TaskError(f"git {words[0]} failed in {folder}: {said}")
    return done.stdout.decode("utf-8", "surrogateescape")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for repositories that are looked at and thrown away."""
    return tempfile.TemporaryDirectory(prefix="stepgym-swe-", ignore_cleanup_errors=True)
