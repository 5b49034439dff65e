"""A budget of images of a container engine: pulled when a sandbox needs them, kept, and removed to make room.

Only images that were pulled here are ever removed, those first that were used longest ago, and none that is in use.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stepgym.errors import ConfigError, SandboxError
from stepgym.sandboxes.containers.engine import connect, failures, information
from stepgym.sandboxes.containers.sandbox import DockerSandbox
from stepgym.sandboxes.contract import BusyError, Spec

if TYPE_CHECKING:
    from docker import APIClient

PULL_SECONDS = 600.0
"""How long the engine may keep silent while it pulls."""


class Images:
    """What is kept of the images that sandboxes need. Thread-safe. `make` makes the sandboxes."""

    def __init__(self, *, keep: int | None = None, free_bytes: int = 0, ledger: Path | None = None) -> None:
        """`keep` bounds how many pulled images there are (those in use may be more), None only by the disk.

        Before a pull, images are removed until the engine's disk has `free_bytes` free, where it is this machine's.
        `ledger` is a file that names what was pulled, so that another process goes on with the same budget.
        """
        if (keep is not None and keep < 1) or free_bytes < 0:
            raise ConfigError(f"images are kept from 1 on, and bytes free from 0 on, not {keep} and {free_bytes}")
        self._keep, self._free_bytes, self._ledger = keep, free_bytes, ledger
        self._lock = threading.RLock()
        self._pulling: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._users: Counter[str] = Counter()
        self._pulled = dict.fromkeys(ledger.read_text(encoding="utf-8").split() if ledger and ledger.exists() else ())
        """Ours, the one used last at the end."""
        self._engine: APIClient | None = None

    def make(self, spec: Spec) -> DockerSandbox:
        """A sandbox that has its image pulled when it starts, and holds on to it until it is closed."""
        return _Budgeted(spec, self)

    @property
    def pulled(self) -> tuple[str, ...]:
        """The images that were pulled and are still kept, the one used last at the end."""
        with self._lock:
            return tuple(self._pulled)

    def acquire(self, image: str) -> None:
        """Have the image there, and keep it until `release`. Raises `SandboxError` where it cannot be had."""
        with self._lock:
            self._users[image] += 1
            if image in self._pulled:
                self._pulled[image] = self._pulled.pop(image)
                self._write()
            pulling = self._pulling[image]
        try:
            with pulling:
                if not self._is_there(image):
                    self._make_room()
                    self._pull(image)
        except BaseException:
            self.release(image)
            raise

    def release(self, image: str) -> None:
        """It may go."""
        with self._lock:
            self._users[image] -= 1

    def close(self) -> None:
        """Give up the connection; the images stay."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _api(self) -> APIClient:
        with self._lock:
            if self._engine is None:
                self._engine = connect(PULL_SECONDS)
            return self._engine

    def _is_there(self, image: str) -> bool:
        from docker.errors import ImageNotFound

        engine = self._api()
        with failures("the container engine does not answer"), suppress(ImageNotFound):
            engine.inspect_image(image)
            return True
        return False

    def _pull(self, image: str) -> None:
        engine = self._api()
        with self._lock:
            self._pulled[image] = None
            self._write()
        try:
            with failures(f"the image {image} cannot be pulled"):
                tag = None if "@" in image or ":" in image.rpartition("/")[2] else "latest"
                for line in engine.pull(image, tag=tag, stream=True, decode=True):
                    if said := line.get("error"):  # which the SDK takes for progress
                        raise OSError(said)
        except BaseException:
            with self._lock:
                self._pulled.pop(image, None)
                self._write()
            raise

    def _make_room(self) -> None:
        """Remove what is not in use until one more image is within the budget."""
        with self._lock:
            for image in list(self._pulled):
                if not self._over_budget():
                    return
                if not self._users[image]:
                    self._remove(image)
            if self._free() < self._free_bytes:
                raise BusyError(
                    f"the disk of the container engine has {self._free() / 2**30:.1f} GiB free, less than the "
                    f"{self._free_bytes / 2**30:.1f} GiB asked for, and no image that was pulled here can be removed"
                )

    def _over_budget(self) -> bool:
        full = self._keep is not None and len(self._pulled) >= self._keep
        return full or self._free() < self._free_bytes

    def _free(self) -> float:
        """Bytes free where the engine keeps images; without end where that is not to be known here."""
        folder = information(self._api())["DockerRootDir"]
        if not self._free_bytes or not os.path.isdir(folder):
            return float("inf")
        found = os.statvfs(folder)
        return float(found.f_bavail * found.f_frsize)

    def _remove(self, image: str) -> None:
        from docker.errors import APIError

        engine = self._api()
        with failures(f"the image {image} could not be removed"):
            try:
                engine.remove_image(image)
            except APIError as error:
                if error.response is not None and error.response.status_code == 409:
                    return  # in use by someone else
                if error.response is None or error.response.status_code != 404:
                    raise
        del self._pulled[image]
        self._write()

    def _write(self) -> None:
        if self._ledger is not None:
            try:
                self._ledger.write_text("".join(f"{image}\n" for image in self._pulled), encoding="utf-8")
            except OSError as error:
                raise SandboxError(f"{self._ledger} cannot be written ({error.strerror})") from error


class _Budgeted(DockerSandbox):
    def __init__(self, spec: Spec, images: Images) -> None:
        super().__init__(spec)
        self._images, self._holds = images, False

    def start(self) -> Self:
        """With its image there."""
        with self._lock:
            if self.spec.image and not self._holds:
                self._images.acquire(self.spec.image)
                self._holds = True
        try:
            return super().start()
        except BaseException:
            self._let_go()
            raise

    def close(self) -> None:
        """Its image may go then."""
        try:
            super().close()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            if self._holds:
                self._images.release(self.spec.image)
                self._holds = False
