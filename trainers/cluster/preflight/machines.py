"""The GPUs that a run finds: those of a Ray cluster that runs already, or of this machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess

from stepgym.errors import ConfigError

SECONDS = 60
"""Most that a cluster may take to say what it has."""

_PROBE = """
import json, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(json.dumps(ray.cluster_resources().get("GPU", 0)))
"""


def check_gpus(needed: int, *, address: str, python: str) -> None:
    """Raises `ConfigError` if there are fewer than `needed`. The cluster at `address` is asked through `python`."""
    found = gpus_of_cluster(address, python) if address else gpus_here()
    if found < needed:
        where = f"the Ray cluster at {address!r} has" if address else "this machine has"
        more = "wait for its machines (ray status)" if address else "name a Ray cluster with --cluster.address"
        raise ConfigError(
            f"the run needs {needed} GPUs and {where} {found}; {more}, or ask for fewer "
            "(--cluster.nodes, --cluster.gpus, --cluster.engines, --cluster.colocate)"
        )


def gpus_here() -> int:
    """Of this machine, as far as CUDA_VISIBLE_DEVICES shows them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    found = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return found if visible is None else min(found, len([name for name in visible.split(",") if name.strip()]))


def gpus_of_cluster(address: str, python: str) -> int:
    """Of all machines that are up. Raises `ConfigError` for a cluster that cannot be reached."""
    _knock(address)
    command = [python, "-P", "-c", _PROBE, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        return int(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        why = (done.stderr.strip().splitlines() or [f"the probe ended with {done.returncode}"])[-1]
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "strerror", None) or f"no answer within {SECONDS} s"
    raise _unreached(address, why)


def _knock(address: str) -> None:
    """Raises at once where nothing listens: Ray would try for minutes."""
    place = re.fullmatch(r"([^:/]+):(\d{1,5})", address)
    if place:
        try:
            socket.create_connection((place[1], int(place[2])), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise _unreached(address, str(error)) from error


def _unreached(address: str, why: str) -> ConfigError:
    return ConfigError(f"cluster: the Ray cluster at {address!r} cannot be reached: {why}")
