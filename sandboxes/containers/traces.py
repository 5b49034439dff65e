"""What sandboxes keep in a container engine: containers and images that carry their owner's label, and our names.

The label alone does not make a thing ours: whoever makes an image from a sandbox's container, or a container from such
an image, has it too.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stepgym.errors import SandboxError
from stepgym.sandboxes.containers.engine import connect, failures
from stepgym.sandboxes.owners import Owner, this_owner
from stepgym.sandboxes.reaper import Kind, Trace

if TYPE_CHECKING:
    from docker import APIClient

OWNER, EXPIRES = "stepgym.owner", "stepgym.expires"
"""Labels: whose it is, and the second (since 1970) from which it is nobody's."""

_CONTAINER = re.compile(r"/(stepgym-[0-9a-f]{16})")
_IMAGE = re.compile(r"(?:localhost/)?(stepgym/[0-9a-f]{16}:[0-9a-z]+)")


def traces_in_engine(seconds: float) -> list[Trace]:
    """All there are, of any owner. Raises `SandboxError` where the engine does not answer for so long."""
    engine = connect(seconds)
    try:
        return list(_traces(engine))
    finally:
        engine.close()


def reap_in_engine_once(engine: APIClient) -> None:
    """Remove what dead owners left there, once in a process. It raises nothing: what stays is for `reaper.prune`."""
    with _LOCK:
        if this_owner() in _DONE:
            return
        _DONE.add(this_owner())
    try:
        for trace in _traces(engine):
            if trace.left:
                (remove_container if trace.kind is Kind.CONTAINER else remove_image)(trace.where, engine)
    except SandboxError:
        pass


_LOCK = threading.Lock()
_DONE: set[Owner] = set()


def _traces(engine: APIClient) -> Iterator[Trace]:
    with failures("the container engine does not answer"):
        containers = engine.containers(all=True, filters={"label": OWNER})
        images = engine.images(filters={"label": OWNER})
    for kind, pattern, found, names in (
        (Kind.CONTAINER, _CONTAINER, containers, "Names"),
        (Kind.IMAGE, _IMAGE, images, "RepoTags"),
    ):
        for each in found:
            labels = each.get("Labels") or {}
            owner, expires = Owner.parse(labels.get(OWNER, "")), labels.get(EXPIRES, "")
            expired = expires.isdigit() and int(expires) < time.time()
            for name in each.get(names) or ():
                if owner is not None and (ours := pattern.fullmatch(name)):
                    yield Trace(kind, owner, ours[1], expired)


def remove_container(name: str, engine: APIClient | None = None) -> None:
    """Remove a container at once, with its files. Nothing where it is not there. Raises `SandboxError`."""
    with _removing(f"container {name}", engine) as api:
        api.remove_container(name, force=True, v=True)  # 409: someone else is at it


def remove_image(name: str, engine: APIClient | None = None) -> None:
    """Take a name from an image, which goes when nothing needs it any more. Raises `SandboxError`."""
    with _removing(f"image {name}", engine) as api:
        api.remove_image(name, force=True)  # 409: another is built on it, and will take it along


@contextmanager
def _removing(what: str, engine: APIClient | None) -> Iterator[APIClient]:
    from docker.errors import APIError

    api = engine or connect()
    try:
        with failures(f"{what} could not be removed"):
            try:
                yield api
            except APIError as error:
                if error.status_code not in (404, 409):
                    raise
    finally:
        if engine is None:
            api.close()
