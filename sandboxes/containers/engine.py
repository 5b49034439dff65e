"""The container engine: Docker's, or another that speaks its API, where ``DOCKER_HOST`` points."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from stepgym.errors import MissingDependencyError, SandboxError
from stepgym.sandboxes.contract import BusyError

if TYPE_CHECKING:
    from docker import APIClient

SECONDS = 60.0
"""How long the engine may keep silent before it counts as broken."""


def connect(seconds: float = SECONDS) -> APIClient:
    """The engine's API, which waits so long for an answer. Raises `SandboxError` where there is none."""
    try:
        from docker import APIClient
        from docker.transport import UnixHTTPAdapter
        from docker.utils import kwargs_from_env
    except ImportError as error:
        raise MissingDependencyError("containers need the docker SDK: pip install 'stepgym[docker]'") from error
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    with failures(f"no container engine answers at {host} (set DOCKER_HOST if it is elsewhere)"):
        place = host.removeprefix("unix://") if host.startswith("unix://") else ""
        if place:  # the SDK does not close a socket that it could not connect
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(seconds)
                probe.connect(place)
        engine = APIClient(version=_VERSIONS.get(host, "auto"), timeout=seconds, **kwargs_from_env())
        if place:  # its own would keep an idle connection for each of the last 25 addresses asked for
            engine.get_adapter(engine.base_url).close()
            engine.mount(engine.base_url, UnixHTTPAdapter(place, seconds, pool_connections=1))
    _VERSIONS[host] = engine.api_version
    _HOSTS[engine] = host
    return engine


def information(engine: APIClient) -> Mapping[str, Any]:
    """What the engine, one of `connect`, says of itself. Raises `SandboxError`."""
    host = _HOSTS[engine]
    if host not in _INFORMATION:
        with failures("the container engine does not answer"):
            _INFORMATION[host] = engine.info()
    return _INFORMATION[host]


_HOSTS: WeakKeyDictionary[APIClient, str] = WeakKeyDictionary()
_VERSIONS: dict[str, str] = {}
"""Of the API, by host: the engine runs several programs to find out."""
_INFORMATION: dict[str, Mapping[str, Any]] = {}
"""By host, for the same reason."""


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn whatever the SDK raises into a `SandboxError` that begins with `what`; a `BusyError` where it may pass."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException, Timeout
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (DockerException, RequestException, HTTPError, OSError, EOFError) as error:
        said = _said(error)
        busy = isinstance(error, Timeout) or any(each in said.lower() for each in _BUSY)
        raise (BusyError if busy else SandboxError)(f"{what}: {said}") from error


_BUSY = ("deadline exceeded", "too many requests", "toomanyrequests", "read timed out", "temporarily unavailable")


def _said(error: Exception) -> str:
    """What the engine, or the SDK, said, in one line."""
    said = getattr(error, "explanation", None) or str(error) or type(error).__name__
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return " ".join(text.split())[:300]
