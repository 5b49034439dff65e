"""Whose a sandbox is: the process that answers for it, told apart from every other process there ever was.

All that a sandbox leaves outside itself (a folder, a cgroup, a container) carries its owner's label, so that another
process can tell later whether it is still wanted. A process is known by where and when it began, since a number alone
is given to another process after it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from hashlib import blake2s
from pathlib import Path

from stepgym.errors import SandboxError

LOCK = "lock"
"""The file in an owner's folder that stays locked while the owner lives."""
SETTLED_SECONDS = 60.0
"""Age from which an unlocked folder is abandoned: a younger one may be about to be locked."""

_LABEL = re.compile(r"([0-9a-f]{6})-([0-9a-f]{8})-([0-9a-f]{1,16})-([0-9]{1,10})-([0-9a-f]{1,16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, on any machine, at any time."""

    machine: str
    """Which machine, as 6 hexadecimal digits: its id and name, hashed."""
    boot: str
    """Which run of its kernel: the first 8 digits of the boot id."""
    namespace: int
    """Which PID namespace (inode)."""
    pid: int
    started: int
    """Clock ticks from the boot to the start of the process."""

    @property
    def label(self) -> str:
        """Of ``0-9 a-f -`` alone, at most 60 characters: fit for the name of a folder, a cgroup or an image."""
        return f"{self.machine}-{self.boot}-{self.namespace:x}-{self.pid}-{self.started:x}"

    @classmethod
    def parse(cls, label: str) -> Owner | None:
        """The owner with that label; None where it is no label."""
        match = _LABEL.fullmatch(label)
        if match is None:
            return None
        machine, boot, namespace, pid, started = match.groups()
        return cls(machine, boot, int(namespace, 16), int(pid), int(started, 16))

    def alive(self) -> bool:
        """False where it has certainly ended.

        That can be known of a process in our own PID namespace, of any before this machine's last boot, and, by the
        lock on its folder, of one in another namespace of this machine. Everyone else counts as alive.
        """
        us = this_owner()
        if self.boot != us.boot:
            return self.machine != us.machine
        if self.namespace != us.namespace:
            return not _abandoned(self)
        return self == us or _runs(self)


@cache
def this_owner() -> Owner:
    """The running process. A child of `os.fork` is another."""
    started = _started(os.getpid())
    if started is None:
        raise SandboxError("/proc does not show this process; sandboxes need it")
    return Owner(*_machine(), os.stat("/proc/self/ns/pid").st_ino, os.getpid(), started)


def state_folder() -> Path:
    """Where sandboxes keep their files: ``$STEPGYM_SANDBOXES``, else ``~/.cache/stepgym/sandboxes``; made if need be.

    Raises `SandboxError` where it cannot be used.
    """
    folder = _place()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid():
            raise SandboxError(f"{folder} belongs to another user; set STEPGYM_SANDBOXES to a folder of your own")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise SandboxError(
            f"sandboxes cannot keep their files in {folder} ({error.strerror}); set STEPGYM_SANDBOXES to another folder"
        ) from error
    return folder


def own_folder() -> Path:
    """This process's part of `state_folder`, made and locked on first use, removed at exit if nothing is in it."""
    with _OWN.lock:
        if _OWN.folder is None:
            folder = state_folder() / this_owner().label
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                # Closing any descriptor of this file gives the lock up: it must not be opened again in this process.
                descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SandboxError(f"sandboxes cannot keep their files in {folder} ({error.strerror})") from error
            _OWN.folder = folder
        return _OWN.folder


class _Own:
    """The folder of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.folder: Path | None = None


_OWN = _Own()


def _forked() -> None:
    this_owner.cache_clear()
    _OWN.__init__()  # type: ignore[misc]  # the parent's lock may be held, and its folder is not ours


def _leave() -> None:
    folder = _OWN.folder
    if folder is not None:
        _OWN.folder = None
        try:
            if os.listdir(folder) == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()
        except OSError:
            pass  # a reaper's later


os.register_at_fork(after_in_child=_forked)
atexit.register(_leave)


def _place() -> Path:
    if given := os.environ.get("STEPGYM_SANDBOXES"):
        return Path(given).absolute()
    if cache_home := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache_home).absolute() / "stepgym" / "sandboxes"
    try:
        return Path.home() / ".cache" / "stepgym" / "sandboxes"
    except RuntimeError:  # a user that the system does not know
        return Path(tempfile.gettempdir()) / f"stepgym-{os.geteuid()}" / "sandboxes"


@cache
def _machine() -> tuple[str, str]:
    """`Owner.machine` and `Owner.boot` of this machine."""
    try:
        identity = Path("/etc/machine-id").read_bytes()
    except OSError:
        identity = b""  # as in many containers, whose name is their own
    # Copies of a machine have the same id, so its name counts as well.
    machine = blake2s(identity + os.uname().nodename.encode(), digest_size=3).hexdigest()
    return machine, Path("/proc/sys/kernel/random/boot_id").read_text()[:8]


def _started(pid: int) -> int | None:
    """`Owner.started` of a process that runs; None where there is none, or none that may be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        state, *numbers = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
        if state in b"ZX" and len(os.listdir(f"/proc/{pid}/task")) < 2:
            return None  # ended, and only its exit code is kept
    except OSError:
        return None
    return int(numbers[18])


def _runs(owner: Owner) -> bool:
    if (started := _started(owner.pid)) is not None:
        return started == owner.started
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of a user whose processes are hidden from us
    return _hidden(owner.pid)


def _hidden(pid: int) -> bool:
    """A process we may signal is nowhere in ``/proc``: not even as one that has ended."""
    return not os.path.exists(f"/proc/{pid}")


def _abandoned(owner: Owner) -> bool:
    """The owner's folder is there, and nobody has locked it."""
    folder = _place() / owner.label
    try:
        if time.time() - folder.stat().st_mtime < SETTLED_SECONDS:
            return False
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
