"""The files of a namespace sandbox: overlays of read-only bases, frozen layers and one folder to write in.

Each sandbox has a folder of its own below its process's (`owners.own_folder`). A snapshot is the folder it wrote in,
moved away and read from then on; a fork reads it too. What the base is, nobody writes to.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stepgym.sandboxes.contract import Spec
from stepgym.sandboxes.owners import own_folder
from stepgym.sandboxes.removal import remove_tree

SHM_BYTES = 64 << 20
_ETC = (
    "alternatives",
    "ca-certificates",
    "debian_version",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "python3",
    "python3.11",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
"""What programs read of this machine's ``/etc``, and holds nothing of its users."""
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/resolv.conf": "",
}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_MASKED = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/acpi",
    "/proc/scsi",
)
_FIXED = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/mtrr")

_NUMBERS = itertools.count()
_LOCK = threading.Lock()
_USES: Counter[str] = Counter()
"""How many sandboxes and snapshots need a frozen layer."""
_SKELETONS: list[Path] = []
"""This process's, once it is made."""


@dataclass
class Root:
    """The folders of one sandbox. Its overlays: the root file system and, where there is one, the workspace."""

    spec: Spec
    layers: tuple[str, ...] = ()
    """Names of the frozen layers below, the newest first."""
    folder: Path = field(init=False)
    _written: int = 0

    def __post_init__(self) -> None:
        self.folder = own_folder() / f"{next(_NUMBERS)}"
        self._hold(self.layers)
        (self.folder / "root").mkdir(parents=True)
        (self.folder / "workspace").mkdir()
        self.renew()

    @property
    def upper(self) -> Path:
        """What was written: one folder for each overlay."""
        return self.folder / f"upper-{self._written}"

    def renew(self) -> Path:
        """An empty folder to write in. The former one, to be removed once nothing is mounted on it."""
        former = self.upper
        self._written += 1
        for overlay, _ in self._overlays():
            (self.upper / overlay).mkdir(parents=True)
            (self.upper / f"work-{overlay}").mkdir()
        return former

    def freeze(self) -> str:
        """Make what was written a layer, on which this sandbox goes on. Its name, held once for the caller."""
        name = f"layer-{next(_NUMBERS)}"
        self.upper.rename(own_folder() / name)
        self._hold([name])
        self.layers = (name, *self.layers)
        self._hold([name])
        self.renew()
        return name

    def release(self, layers: Sequence[str]) -> None:
        """Give up layers; those nobody needs any more are removed."""
        with _LOCK:
            _USES.subtract(layers)
            unneeded = [name for name in dict.fromkeys(layers) if _USES[name] <= 0]
            for name in unneeded:
                del _USES[name]
        for name in unneeded:
            remove_tree(own_folder() / name)

    def back_to(self, layers: tuple[str, ...]) -> None:
        """Stand on other layers from now on."""
        former, self.layers = self.layers, layers
        self._hold(layers)
        self.release(former)

    def remove(self) -> None:
        """Remove everything, once nothing is mounted on it."""
        remove_tree(self.folder)
        self.release(self.layers)

    def plan(self) -> list[str]:
        """How the launcher mounts it (``launcher/mounts.c``)."""
        return [word for step in self._steps() for word in step]

    def _steps(self) -> Iterator[tuple[str, ...]]:
        here, work = self.folder.name, self.spec.workdir
        yield "root", str(self.folder / "root")
        yield "cd", str(own_folder())
        for overlay, base in self._overlays():
            layers = [f"{name}/{overlay}" for name in self.layers]
            mine = f"{here}/{self.upper.name}"
            lower = ":".join(map(_escaped, [*layers, str(base)]))
            yield "overlay", lower, f"{mine}/{overlay}", f"{mine}/work-{overlay}", f"{here}/{overlay}"
        if not self.spec.image:
            yield from _programs()
        yield "proc", "/proc"
        for path in _FIXED:
            yield "readonly", path
        yield "tmpfs", "/dev", "mode=755,size=64k"
        for device in _DEVICES:
            yield "bind", f"/dev/{device}", f"/dev/{device}", "rw"
        for path in _MASKED:
            yield "hide", path
        yield "tmpfs", "/dev/shm", f"mode=1777,size={SHM_BYTES}"
        yield "devpts", "/dev/pts"
        for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("core", "/proc/kcore")):
            yield "link", target, f"/dev/{name}"
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            yield "link", f"/proc/self/fd/{number}", f"/dev/{name}"
        if self.spec.workspace is not None:
            yield "bind", str(self.folder / "workspace"), work, "rw"
        for bind in self.spec.binds:
            yield "bind", str(bind.source.absolute()), bind.target, "ro"
        for folder in (work, "/tmp", "/root"):
            yield "dir", folder

    def _overlays(self) -> Iterator[tuple[str, Path]]:
        yield "root", Path(self.spec.image).absolute() if self.spec.image else Path(_skeleton().name)
        if self.spec.workspace is not None:
            yield "workspace", self.spec.workspace.absolute()

    def _hold(self, layers: Sequence[str]) -> None:
        with _LOCK:
            _USES.update(layers)


def _programs() -> Iterator[tuple[str, ...]]:
    """This machine's programs, read-only, and nothing of its users, services and settings."""
    yield "bind", "/usr", "/usr", "ro"
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        place = Path("/", name)
        if place.is_symlink():
            yield "link", os.readlink(place), f"/{name}"
        elif place.is_dir():
            yield "bind", f"/{name}", f"/{name}", "ro"
    for name in _ETC:
        if Path("/etc", name).exists():
            yield "bind", f"/etc/{name}", f"/etc/{name}", "ro"
    prefix = python_prefix()
    if prefix:
        yield "bind", prefix, prefix, "ro"


def python_prefix() -> str:
    """Where the running Python lies, unless that is in ``/usr``."""
    return "" if Path(sys.base_prefix).is_relative_to("/usr") else sys.base_prefix


def _skeleton() -> Path:
    """What stands where there is no image: a few files of ``/etc``, and folders."""
    with _LOCK:
        if not _SKELETONS:
            folder = own_folder() / "skeleton"
            for name, text in _FILES.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            for name, mode in (("root", 0o700), ("var/tmp", 0o1777), ("tmp", 0o1777), ("home", 0o755), (".", 0o755)):
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name).chmod(mode)
            _SKELETONS.append(folder)
        return _SKELETONS[0]


@atexit.register
def _leave() -> None:
    for folder in _SKELETONS:
        remove_tree(folder)


os.register_at_fork(after_in_child=_SKELETONS.clear)


def _escaped(path: str) -> str:
    for special in ("\\", ":", ","):
        path = path.replace(special, f"\\{special}")
    return path
