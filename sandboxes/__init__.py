"""Where untrusted work runs: commands of a model in sandboxes, and our own functions in processes that can be killed.

SANDBOXES   back ends: namespace (no daemon, no root), docker, ray (on other machines), none (asked for by name)
make        a sandbox of a back end: ``with sandboxes.make("namespace") as sandbox: sandbox.exec("echo hi")``
workers     a shared pool of worker processes for Python functions (the symbolic tier of the math verifier)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.sandboxes.contract import (
        Bind,
        BusyError,
        Capability,
        EditError,
        ExecResult,
        Limits,
        Network,
        Sandbox,
        Spec,
        require,
    )
    from stepgym.sandboxes.pooling.pool import SandboxPool
    from stepgym.sandboxes.workers import OverBudgetError, WorkerPool, shared_pool

SANDBOXES: Registry[Sandbox] = Registry(
    "sandbox",
    {
        "namespace": "stepgym.sandboxes.namespaces.sandbox:NamespaceSandbox",
        "docker": "stepgym.sandboxes.containers.sandbox:DockerSandbox",
        "ray": "stepgym.sandboxes.cluster.sandbox:RaySandbox",
        "none": "stepgym.sandboxes.plain:PlainSandbox",
    },
)
"""Back ends by name; each is called with a `Spec`."""


def make(name: str, spec: Spec | None = None, **settings: Any) -> Sandbox:
    """A sandbox of that back end, not started yet; entering it as a context manager starts it.

    `settings` are fields of `Spec` and `Limits`, over those of `spec`:
    ``make("namespace", workspace=".", memory=2**30)``. ``"ray:docker"`` is sandboxes of docker on the nodes of Ray.
    Raises `stepgym.errors.UnknownNameError` and `stepgym.errors.ConfigError`.
    """
    from stepgym.sandboxes.contract import make_spec

    back_end, _, inner = name.partition(":")
    given = {"inner": inner} if inner in SANDBOXES and back_end == "ray" else {}
    made: Sandbox = SANDBOXES.load(back_end if given else name)(make_spec(spec, **settings), **given)
    return made


__getattr__ = exports(
    __name__,
    {
        "Bind": "stepgym.sandboxes.contract",
        "BusyError": "stepgym.sandboxes.contract",
        "Capability": "stepgym.sandboxes.contract",
        "EditError": "stepgym.sandboxes.contract",
        "ExecResult": "stepgym.sandboxes.contract",
        "Limits": "stepgym.sandboxes.contract",
        "Network": "stepgym.sandboxes.contract",
        "OverBudgetError": "stepgym.sandboxes.workers",
        "Sandbox": "stepgym.sandboxes.contract",
        "SandboxPool": "stepgym.sandboxes.pooling.pool",
        "Spec": "stepgym.sandboxes.contract",
        "WorkerPool": "stepgym.sandboxes.workers",
        "require": "stepgym.sandboxes.contract",
        "shared_pool": "stepgym.sandboxes.workers",
    },
)

__all__ = [
    "SANDBOXES",
    "Bind",
    "BusyError",
    "Capability",
    "EditError",
    "ExecResult",
    "Limits",
    "Network",
    "OverBudgetError",
    "Sandbox",
    "SandboxPool",
    "Spec",
    "WorkerPool",
    "make",
    "require",
    "shared_pool",
]
