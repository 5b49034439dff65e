"""The way out of a container to the hosts of its allow list: a socket in a folder bound into it, a forwarder inside.

The container has no network but its loopback device. There the launcher's ``forward`` listens, and connects to the
socket, where the proxy of this process answers. The engine must be on this machine: the folder is.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from stepgym.errors import SandboxError
from stepgym.sandboxes.contract import Bind
from stepgym.sandboxes.namespaces.supervisor import PROGRAM
from stepgym.sandboxes.owners import own_folder
from stepgym.sandboxes.proxying.proxy import PORT, Proxy
from stepgym.sandboxes.removal import remove_tree

if TYPE_CHECKING:
    from docker import APIClient

_INSIDE = "/run/stepgym"


class Doorway:
    """One container's. Made before the container, opened in it when it runs and after all inside was killed."""

    def __init__(self, allow: Sequence[str]) -> None:
        """Raises `SandboxError`, and `ConfigError` for an entry of `allow` that is no host."""
        self._folder = Path(mkdtemp(prefix="doorway-", dir=own_folder()))
        try:
            self._proxy = Proxy(_listen(self._folder), allow)
        except BaseException as error:
            remove_tree(self._folder)
            if isinstance(error, OSError):
                raise SandboxError(f"no socket for the proxy could be made: {error}") from error
            raise
        self.refused = self._proxy.refused

    @property
    def binds(self) -> tuple[Bind, ...]:
        """What the container must see."""
        return Bind(self._folder, f"{_INSIDE}/proxy"), Bind(PROGRAM, f"{_INSIDE}/launcher")

    def open(self, engine: APIClient, container: str) -> None:
        """Start the forwarder, and return when it listens. Raises `SandboxError`, and what the engine raises."""
        command = [f"{_INSIDE}/launcher", "forward", str(PORT), f"{_INSIDE}/proxy/socket"]
        process = engine.exec_create(container, command, workdir="/")["Id"]
        said: bytes = engine.exec_start(process)
        if (code := engine.exec_inspect(process)["ExitCode"]) != 0:
            why = said.decode(errors="replace").strip() or f"exit code {code}"
            raise SandboxError(f"the way to the proxy cannot be opened: {why}")

    def close(self) -> None:
        """End the proxy, and remove the folder."""
        self._proxy.close()
        remove_tree(self._folder)


def _listen(folder: Path) -> socket.socket:
    """A socket in the folder that root of a container may connect to, who may be nobody in particular here.

    Other users of this machine cannot come to it: the folder is in one of ours.
    """
    folder.chmod(0o711)
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(f"/proc/self/fd/{place}/socket")  # a path of any length
        (folder / "socket").chmod(0o666)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(place)
    return listener
