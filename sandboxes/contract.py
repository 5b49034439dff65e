"""The sandbox contract: where commands written by a model run.

A sandbox is a machine of its own as seen from inside: files, processes, perhaps a network. Commands run one at a time.
What a command does, its exit code, its time-out, its silence, is data (`ExecResult`); that the sandbox itself broke is
`stepgym.errors.SandboxError`, and never an exit code.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from stepgym.errors import ConfigError, SandboxError

KILLED = 137
"""Exit code of a command that was killed, as a shell gives it: 128 + SIGKILL."""
READ_LIMIT = 100 << 20
"""Most bytes that `Sandbox.read` brings out unless told otherwise."""


class Capability(StrEnum):
    """Something a back end may or may not be able to do on this machine. An environment can require it."""

    ISOLATION = "isolation"
    """Commands see neither the host's files, processes and users nor other sandboxes."""
    NO_NETWORK = "no-network"
    """There is no way out but those that were asked for."""
    ALLOW_LIST = "allow-list"
    """HTTP and HTTPS to named hosts, through a proxy."""
    SNAPSHOTS = "snapshots"
    """`Sandbox.snapshot` and `Sandbox.fork`."""
    MEMORY_LIMIT = "memory-limit"
    """Memory is bounded for all processes together, not only for each."""
    PROCESS_LIMIT = "process-limit"
    CPU_LIMIT = "cpu-limit"
    DISK_LIMIT = "disk-limit"


class Network(StrEnum):
    """What a sandbox reaches."""

    NONE = "none"
    """Its own loopback device, and the hosts of `Spec.allow` through a proxy."""
    HOST = "host"
    """All that this machine reaches. For building, never for commands of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sandbox may use. A back end that cannot bound one of these for the whole bounds it for each process."""

    memory: int = 4 << 30
    """Bytes, swap included."""
    processes: int = 512
    """Processes and threads."""
    cpus: float = 0.0
    """Cores' worth of CPU time; 0 is no limit."""
    disk: int = 4 << 30
    """Bytes that commands may write in all."""
    output: int = 1 << 20
    """Bytes of a command's output that are kept, half of them its beginning and half its end."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value >= (0 if each.name == "cpus" else 1):
                raise ConfigError(f"the limit of {each.name} must be positive, not {value}")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host that the sandbox sees, and cannot change."""

    source: Path
    target: str
    """Absolute path inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a sandbox holds and may do, independent of the back end."""

    image: str = ""
    """Its root file system: for containers the name of an image, for namespaces a folder with an unpacked one. Empty:
    the programs of this machine (its ``/usr`` and the running Python's), and for containers `DEFAULT_IMAGE`."""
    workspace: Path | None = None
    """A folder whose files the sandbox sees at `workdir` and may change; the folder itself stays as it is."""
    workdir: str = "/workspace"
    """Where commands run, absolute; made where it is not there."""
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Environment variables beside ``PATH``, ``HOME``, ``LANG`` and ``TERM``. None comes from the host by itself."""
    network: Network = Network.NONE
    allow: tuple[str, ...] = ()
    """Hosts reached by HTTP and HTTPS through a proxy: ``pypi.org``, or ``*.debian.org`` for all below it."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for path in (self.workdir, *(bind.target for bind in self.binds)):
            if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
                raise ConfigError(f"a path inside a sandbox is absolute and without '..', not {path!r}")
        check_environment(self.env)
        if self.allow:
            from stepgym.sandboxes.proxying.allowed import AllowList

            AllowList.parse(self.allow)
        if self.workspace is not None and not self.workspace.is_dir():
            raise ConfigError(f"the workspace {self.workspace} is not a folder")


DEFAULT_IMAGE = "debian:bookworm-slim"
"""The image of a container that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What came of a command."""

    output: str
    """Its standard output and standard error in the order they were written, as UTF-8 with U+FFFD for what is not.
    Where it was longer than `Limits.output`, a line in the middle says how many bytes are left out."""
    exit_code: int
    """As a shell gives it: 128 + N after signal N; `KILLED` after a time-out or a limit of ours."""
    timed_out: bool = False
    truncated: bool = False
    """`output` lacks its middle."""
    bytes_total: int = 0
    """Bytes written in all, those left out included."""
    seconds: float = 0.0
    why: str = ""
    """One clause for a person where something else than the command ended it: a time-out, a limit, the shell killed."""

    @property
    def ok(self) -> bool:
        """The command came to its end, and said it succeeded."""
        return self.exit_code == 0 and not self.timed_out


class Sandbox(ABC):
    """A place where commands run. A context manager: entering starts it, leaving closes it.

    Safe to use from several threads: a call waits for the one in progress. Not to be used in a child of `os.fork`.
    """

    spec: Spec

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """What this back end can do on this machine."""

    @property
    def refused(self) -> Counter[str]:
        """How often the proxy refused each ``host:port``; empty where `Spec.allow` names no host."""
        return Counter()

    @abstractmethod
    def start(self) -> Self:
        """Make it usable; at once where it is already. Raises `SandboxError` where it cannot be had."""

    @abstractmethod
    def exec(
        self,
        command: str,
        *,
        timeout: float = 60.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        stateful: bool = False,
        output_limit: int | None = None,
    ) -> ExecResult:
        """Run `command` in bash, and wait for it at most `timeout` seconds.

        Each command begins in `cwd` (`Spec.workdir` by default) with the same environment, changed only by `env`; with
        `stateful` it runs in a session instead, which keeps its directory, variables and functions from one such
        command to the next. A background process lives on after its command; what it writes between two commands is
        thrown away, and what it writes during another is part of that one's output. After a time-out every process in
        the sandbox is dead, and the sandbox is as usable as before.

        Raises `SandboxError` where the sandbox itself failed.
        """

    @abstractmethod
    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """The bytes of a file, `path` relative to `Spec.workdir`, with the permissions a command has.

        Raises `FileNotFoundError`, `PermissionError`, `IsADirectoryError`, or `OSError` (``EFBIG``) beyond `limit`.
        """

    @abstractmethod
    def write(self, path: str, content: str | bytes) -> None:
        """Make a file of these bytes, and the folders above it. Raises as `read` does."""

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace the one place where the file says `old` by `new`.

        Raises `EditError` where it does not say it, or in several places, and as `read` does.
        """
        content, sought = self.read(path), old.encode("utf-8", "surrogatepass")
        count = content.count(sought) if sought else 0
        if count == 1 and content.find(sought, content.find(sought) + 1) >= 0:
            count = 2  # they overlap
        if count != 1:
            said = "is empty" if not sought else "is not there" if not count else f"is there {count} times"
            raise EditError(f"{path}: the text to replace {said}; it must be there exactly once")
        self.write(path, content.replace(sought, encoded(new, path)))

    @abstractmethod
    def snapshot(self) -> str:
        """Keep the files as they are. Ends every process inside. The name holds until this sandbox is closed."""

    @abstractmethod
    def fork(self, point: str) -> Sandbox:
        """Another sandbox, started, with the files of a snapshot. Raises `SandboxError` for no such name."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the files it started with. Ends every process in the sandbox."""

    @abstractmethod
    def close(self) -> None:
        """End and remove it, snapshots included; nothing where that is done. It can be started again, as new."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class BusyError(SandboxError):
    """The sandbox cannot be had at present, and may be a little later: an engine under load, a disk that is full."""


class EditError(SandboxError, ValueError):
    """An edit named a text that the file does not have exactly once: the agent's mistake, to be told to the agent."""


def encoded(text: str, path: str) -> bytes:
    """The bytes of a text that is to be written to a file. Raises `OSError` (``EILSEQ``) where it has none."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ), path) from None


def check_environment(env: Mapping[str, str]) -> None:
    """Raise `ConfigError` for a variable that a shell cannot have."""
    for name, value in env.items():
        if not (name.isidentifier() and name.isascii()) or "\0" in value:
            raise ConfigError(f"{name}={value!r} cannot be an environment variable")


def require(sandbox: Sandbox, needed: Iterable[Capability]) -> None:
    """Raise `SandboxError`, naming what is missing, unless the sandbox can do all of `needed`."""
    missing = sorted(set(needed) - sandbox.capabilities)
    if missing:
        raise SandboxError(f"{type(sandbox).__name__} cannot do here: {', '.join(missing)}; see `stepgym doctor`")


def make_spec(spec: Spec | None = None, **settings: Any) -> Spec:
    """`spec`, or a plain one, with these fields set; the names of `Limits` are taken as well as those of `Spec`.

    Raises `ConfigError` for a setting there is not, or that cannot be.
    """
    from dataclasses import replace

    spec = spec or Spec()
    limits = {each.name: settings.pop(each.name) for each in fields(Limits) if each.name in settings}
    known = {each.name for each in fields(Spec)}
    for name in settings:
        if name not in known:
            every = sorted(known | {each.name for each in fields(Limits)})
            raise ConfigError(f"a sandbox has no setting {name!r}; it has {', '.join(every)}")
    if "workspace" in settings and settings["workspace"] is not None:
        settings["workspace"] = Path(settings["workspace"])
    if "network" in settings:
        try:
            settings["network"] = Network(settings["network"])
        except ValueError:
            raise ConfigError(
                f"a network is {' or '.join(Network)}, not {settings['network']!r}; hosts are named by `allow`"
            ) from None
    spec = replace(spec, **settings)
    return replace(spec, limits=replace(spec.limits, **limits)) if limits else spec
