"""Finds what sandboxes keep outside themselves, and removes what dead owners left; never anything not ours.

Ours is what carries the label of an `owners.Owner`. A process killed with SIGKILL leaves its folder, its control groups
and its containers; whoever comes next removes them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stepgym.errors import MissingDependencyError, SandboxError
from stepgym.sandboxes.namespaces import cgroups
from stepgym.sandboxes.owners import Owner, state_folder
from stepgym.sandboxes.removal import remove_tree

ENGINE_SECONDS = 3.0
"""How long a container engine may take to answer before it is left alone."""
ENGINE_SOCKET = Path("/var/run/docker.sock")
KILL_SECONDS = 5.0
_CGROUPS = Path("/sys/fs/cgroup")


class Kind(StrEnum):
    """What it is, in the order in which it is removed: processes before the files they may write."""

    CGROUP = "cgroup"
    CONTAINER = "container"
    IMAGE = "image"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Trace:
    """Something that a process keeps, or left, for its sandboxes."""

    kind: Kind
    owner: Owner
    where: str
    """A folder, or the name of a container or an image."""
    expired: bool = False
    """Its time to live is over, so that it is of no use even to an owner that cannot be seen from here."""

    @property
    def left(self) -> bool:
        """Nobody answers for it any more."""
        return self.expired or not self.owner.alive()


@dataclass(frozen=True, slots=True)
class Failure:
    """A leftover that could not be removed."""

    trace: Trace
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """What there is, of living owners and dead ones."""

    traces: tuple[Trace, ...]
    unseen: str
    """Why the container engine could not be asked; nothing where it was, or where there is none."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What came of removing leftovers."""

    removed: tuple[Trace, ...]
    failed: tuple[Failure, ...]
    unseen: str
    """See `Found.unseen`."""


def look() -> Found:
    """All there is on this machine, and in the container engine if there is one.

    Raises `SandboxError` where the folder of sandboxes cannot be used.
    """
    here = [*_groups(_group_folders()), *_files()]
    try:
        return Found((*_engine_traces(), *here), "")
    except SandboxError as error:
        return Found(tuple(here), str(error))


def leftovers() -> list[Trace]:
    """What `look` finds of dead owners. Raises as it does."""
    return [trace for trace in look().traces if trace.left]


def prune() -> Pruned:
    """Remove what dead owners left. Where another process is doing that, wait for it first. Raises as `look` does."""
    with _alone(wait=True):
        found = look()
        removed, failed = _remove(trace for trace in found.traces if trace.left)
        return Pruned(tuple(removed), tuple(failed), found.unseen)


def reap_once() -> None:
    """Remove leftovers on this machine, once in a process, unless another process is doing that; for a first start.

    It asks no engine and raises nothing: what stays is for `prune`, which says why.
    """
    with _LOCK:
        if _DONE:
            return
        _DONE.append(True)
    try:
        with _alone(wait=False) as first:
            if first:
                found = [*_groups(each.folder for each in cgroups.hierarchies()), *_files()]
                _remove(trace for trace in found if trace.left)
    except (SandboxError, OSError):
        pass  # the sandbox that is about to start says it better


_LOCK = threading.Lock()
_DONE: list[bool] = []


def _remove(dead: Iterable[Trace]) -> tuple[list[Trace], list[Failure]]:
    removed: list[Trace] = []
    failed: list[Failure] = []
    for trace in sorted(dead, key=lambda trace: list(Kind).index(trace.kind)):
        try:
            _REMOVERS[trace.kind](trace.where)
            removed.append(trace)
        except (SandboxError, OSError) as error:
            failed.append(Failure(trace, str(error)))
    return removed, failed


@contextmanager
def _alone(*, wait: bool) -> Iterator[bool]:
    """Whether no other process is removing leftovers, which holds until the end."""
    folder = os.open(state_folder(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        alone = True
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            # A file system without locks: two at once get in each other's way, and do no harm.
            alone = error.errno not in (errno.EWOULDBLOCK, errno.EINTR)
        try:
            yield alone
        finally:
            if alone:
                with suppress(OSError):
                    fcntl.flock(folder, fcntl.LOCK_UN)  # closing does not, where a fork has a copy
    finally:
        os.close(folder)


def _files() -> Iterator[Trace]:
    folder = state_folder()
    for name in sorted(os.listdir(folder)):
        if owner := Owner.parse(name):
            yield Trace(Kind.FILES, owner, str(folder / name))


def _groups(folders: Iterable[Path]) -> Iterator[Trace]:
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if owner := Owner.parse(name.partition(".")[0]):
                yield Trace(Kind.CGROUP, owner, str(folder / name))


def _group_folders() -> Iterator[Path]:
    """Where groups of ours may be: an owner may have stood elsewhere in the tree than we do."""
    for place, folders, _ in os.walk(_CGROUPS):
        if cgroups.FOLDER in folders:
            folders.remove(cgroups.FOLDER)
            yield Path(place, cgroups.FOLDER)


def _engine_traces() -> list[Trace]:
    if not os.environ.get("DOCKER_HOST") and not ENGINE_SOCKET.exists():
        return []
    try:
        from stepgym.sandboxes.containers.traces import traces_in_engine
    except MissingDependencyError:
        return []
    return traces_in_engine(ENGINE_SECONDS)


def _remove_files(where: str) -> None:
    if error := remove_tree(Path(where)):
        raise error


def _remove_group(where: str) -> None:
    folder = Path(where)
    deadline = time.monotonic() + KILL_SECONDS
    while pids := _members(folder):
        _kill(folder, pids)
        if time.monotonic() > deadline:
            raise SandboxError(f"{len(pids)} processes cannot be killed")
        time.sleep(0.002)
    cgroups.remove_group(folder)


def _members(folder: Path) -> set[int]:
    try:
        return {int(line) for line in (folder / "cgroup.procs").read_text().split()}
    except OSError:
        return set()  # it is gone


def _kill(folder: Path, pids: set[int]) -> None:
    for pid in pids - {0}:  # 0 is in a PID namespace that we do not see
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if pid in _members(folder):  # still, so that the descriptor is not of another to whom its number went
                signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(process)


def _remove_container(where: str) -> None:
    from stepgym.sandboxes.containers.traces import remove_container

    remove_container(where)


def _remove_image(where: str) -> None:
    from stepgym.sandboxes.containers.traces import remove_image

    remove_image(where)


_REMOVERS = {
    Kind.CGROUP: _remove_group,
    Kind.CONTAINER: _remove_container,
    Kind.IMAGE: _remove_image,
    Kind.FILES: _remove_files,
}
