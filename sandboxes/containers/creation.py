"""How the container of a sandbox is made: what it may do, and what its first process is.

Commands are root inside, without a single capability and with no way to get one. The first process is a shell that
waits out the container's time to live and reaps what is orphaned. It survives that everything else is killed; the usual
``init`` ends with the process below it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepgym.errors import SandboxError
from stepgym.sandboxes.containers.engine import failures, information
from stepgym.sandboxes.containers.traces import EXPIRES, OWNER
from stepgym.sandboxes.contract import DEFAULT_IMAGE, Bind, BusyError, Network, Spec
from stepgym.sandboxes.owners import this_owner

if TYPE_CHECKING:
    from docker import APIClient

WATERMARK = 1 << 30
"""Free bytes on the engine's disk below which no container is made."""

_FIRST = r"""trap "" HUP INT QUIT TERM USR1 USR2
[ -s /etc/hosts ] || printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 sandbox\n' >/etc/hosts
while printf -v now '%(%s)T' -1; ((now < $0)); do sleep $(($0 - now)) & wait; done"""


def create(
    engine: APIClient,
    spec: Spec,
    *,
    name: str,
    fork: str,
    seconds: float,
    environment: Mapping[str, str],
    binds: tuple[Bind, ...],
) -> None:
    """Create a container that ends by itself after so many seconds, from the image `fork` or else that of the spec.

    `binds` come beside those of the spec. Raises `SandboxError` where there is no such image, and what the SDK raises.
    """
    from docker.errors import ImageNotFound

    image, expires = fork or spec.image or DEFAULT_IMAGE, str(math.ceil(time.time() + seconds))
    settings = {
        "name": name,
        "entrypoint": ["bash", "-c", _FIRST, expires],
        "command": [],
        "hostname": "sandbox",
        # A network namespace of the kernel's alone: the engine's own way to none takes as long as all the rest.
        "network_disabled": spec.network is Network.NONE,
        "user": "0:0",
        "stop_signal": "SIGKILL",
        "working_dir": spec.workdir,
        "environment": dict(environment),
        "labels": {OWNER: this_owner().label, EXPIRES: expires},
        "host_config": _host(engine, spec, binds),
    }
    try:
        engine.create_container(image, **settings)
    except ImageNotFound:
        if image != spec.image:
            raise SandboxError(f"the container engine has no image {image}; try `docker pull {image}`") from None
        with failures(f"the container engine has no image {image}, and cannot pull it"):
            engine.pull(image, tag=None if "@" in image or ":" in image.rpartition("/")[2] else "latest")
        engine.create_container(image, **settings)


def check_room(engine: APIClient) -> None:
    """Raise `BusyError` where the engine's disk is on this machine and nearly full."""
    folder = information(engine)["DockerRootDir"]
    if os.path.isdir(folder):
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < WATERMARK:
            raise BusyError(f"the disk with the container engine's {folder} has less than {WATERMARK >> 20} MiB free")


def _host(engine: APIClient, spec: Spec, binds: tuple[Bind, ...]) -> dict[str, Any]:
    from docker.types import LogConfig, Mount, Ulimit

    limits, binds = spec.limits, spec.binds + binds
    made: dict[str, Any] = engine.create_host_config(
        network_mode="host" if spec.network is Network.HOST else "none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=limits.memory,
        memswap_limit=limits.memory,
        pids_limit=limits.processes,
        nano_cpus=int(limits.cpus * 1e9) or None,
        ulimits=[Ulimit(name="fsize", soft=limits.disk, hard=limits.disk), Ulimit(name="core", soft=0, hard=0)],
        mounts=[Mount(each.target, str(each.source.absolute()), "bind", read_only=True) for each in binds],
        log_config=LogConfig(type="none"),  # what goes to the first process's output would fill the host's disk
        init=False,
    )
    return made
