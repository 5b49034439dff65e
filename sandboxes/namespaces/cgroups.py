"""Control groups, of either version, where this user may make them: bounds for all processes of a sandbox together."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stepgym.errors import SandboxError
from stepgym.sandboxes.contract import Capability, Limits

FOLDER = "stepgym"
"""The group that all of ours are in, as ``<owner label>.<number>``."""
PERIOD = 100_000
"""Microseconds over which CPU time is shared out."""
_CONTROLLERS = {
    "memory": Capability.MEMORY_LIMIT,
    "pids": Capability.PROCESS_LIMIT,
    "cpu": Capability.CPU_LIMIT,
}


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A folder below which we can make groups, and the controllers that bind there."""

    folder: Path
    controllers: tuple[str, ...]
    unified: bool
    """Version 2."""


@cache
def hierarchies() -> tuple[Hierarchy, ...]:
    """Those that can be used here; none where no group can be made."""
    found: list[Hierarchy] = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        number, names, path = line.split(":", 2)
        if number == "0":
            found += _unified(path)
            continue
        for name in set(names.split(",")) & set(_CONTROLLERS):
            found += _single(Path("/sys/fs/cgroup", names), path, name)
    return tuple(found)


def capabilities() -> frozenset[Capability]:
    """What groups can bound here."""
    return frozenset(_CONTROLLERS[name] for each in hierarchies() for name in each.controllers)


class Cgroup:
    """A group in every hierarchy there is."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._folders: list[Path] = []
        try:
            for hierarchy in hierarchies():
                folder = hierarchy.folder / name
                folder.mkdir()
                self._folders.append(folder)
                for controller in hierarchy.controllers:
                    _limit(folder, controller, limits, unified=hierarchy.unified)
        except OSError as error:
            self.remove()
            raise SandboxError(f"no control group for the sandbox: {error}") from error
        self._killed = self._kills()

    @property
    def procs(self) -> list[Path]:
        """The files by which a process joins."""
        return [folder / "cgroup.procs" for folder in self._folders]

    def out_of_memory(self) -> bool:
        """The kernel has killed a process of the group for want of memory since this was last asked."""
        before, self._killed = self._killed, self._kills()
        return self._killed > before

    def remove(self) -> None:
        """Remove the groups; their processes have ended, or the kernel is about to notice."""
        for folder in self._folders:
            remove_group(folder)
        self._folders.clear()

    def _kills(self) -> int:
        for folder in self._folders:
            for name in ("memory.oom_control", "memory.events"):
                for line in _read(folder / name).splitlines():
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        return int(value)
        return 0


def remove_group(folder: Path) -> None:
    """Remove one group's folder. Raises `SandboxError` where processes stay in it."""
    deadline = time.monotonic() + 5
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise SandboxError(f"the control group {folder} cannot be removed ({error.strerror})") from error
            time.sleep(0.001)


def _limit(folder: Path, controller: str, limits: Limits, *, unified: bool) -> None:
    if controller == "pids":
        (folder / "pids.max").write_text(str(limits.processes))
    elif controller == "cpu" and limits.cpus:
        quota = int(limits.cpus * PERIOD)
        if unified:
            (folder / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
    elif controller == "memory" and unified:
        (folder / "memory.max").write_text(str(limits.memory))
        _write_if_there(folder / "memory.swap.max", "0")
        _write_if_there(folder / "memory.oom.group", "0")
    elif controller == "memory":
        (folder / "memory.limit_in_bytes").write_text(str(limits.memory))
        _write_if_there(folder / "memory.memsw.limit_in_bytes", str(limits.memory))


def _write_if_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def _single(mount: Path, path: str, controller: str) -> list[Hierarchy]:
    """Version 1: below the root where that may be, since a reaper looks there, else below the group of this process."""
    for base in (mount, mount / path.lstrip("/")):
        if _usable(base / FOLDER):
            return [Hierarchy(base / FOLDER, (controller,), unified=False)]
    return []


def _unified(path: str) -> list[Hierarchy]:
    """Version 2: the highest group above this process that this user may divide, and what it may pass on."""
    for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        parts = Path(path.lstrip("/")).parts
        for depth in range(len(parts) + 1):
            base = mount.joinpath(*parts[:depth])
            offered = set(_read(base / "cgroup.controllers").split()) & set(_CONTROLLERS)
            if offered and os.access(base / "cgroup.procs", os.W_OK) and _usable(base / FOLDER):
                passed = tuple(
                    name for name in sorted(offered) if _pass_on(base, name) and _pass_on(base / FOLDER, name)
                )
                if passed:
                    return [Hierarchy(base / FOLDER, passed, unified=True)]
    return []


def _pass_on(folder: Path, controller: str) -> bool:
    try:
        (folder / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError:
        return False
    return True


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
