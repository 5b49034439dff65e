"""A sandbox that a pool has handed out: the sandbox itself until it is given back, and nothing after that.

So whoever keeps it longer than it was lent can do nothing to the one who has it next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from stepgym.errors import SandboxError
from stepgym.sandboxes.contract import READ_LIMIT, Capability, ExecResult, Sandbox


class Lease(Sandbox):
    """Everything a `Sandbox` is, but that it cannot be started again once it is closed.

    A fork is a lease of its own: it counts as a sandbox of the pool until it is closed, and should be.
    """

    def __init__(self, sandbox: Sandbox, fork: Callable[[str], Sandbox], close: Callable[[], None]) -> None:
        """`fork` makes a lease of a fork; `close` ends this one. The pool's."""
        self.spec = sandbox.spec
        self._sandbox: Sandbox | None = sandbox
        self._fork, self._close = fork, close
        self.has_snapshots = False

    def revoke(self) -> None:
        """From now on every call raises `SandboxError`."""
        self._sandbox = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Sandbox.capabilities`."""
        return self._lent().capabilities

    def start(self) -> Self:
        """It is started."""
        self._lent()
        return self

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
        """See `Sandbox.exec`."""
        return self._lent().exec(
            command, timeout=timeout, cwd=cwd, env=env, stdin=stdin, stateful=stateful, output_limit=output_limit
        )

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """See `Sandbox.read`."""
        return self._lent().read(path, limit=limit)

    def write(self, path: str, content: str | bytes) -> None:
        """See `Sandbox.write`."""
        self._lent().write(path, content)

    def edit(self, path: str, old: str, new: str) -> None:
        """See `Sandbox.edit`."""
        self._lent().edit(path, old, new)

    def snapshot(self) -> str:
        """See `Sandbox.snapshot`."""
        self.has_snapshots = True
        return self._lent().snapshot()

    def fork(self, point: str) -> Sandbox:
        """See `Sandbox.fork`. Waits for room in the pool, and raises `SandboxError` where there comes to be none."""
        self._lent()
        return self._fork(point)

    def reset(self) -> None:
        """See `Sandbox.reset`."""
        self._lent().reset()

    def close(self) -> None:
        """Give it back to be thrown away, at once."""
        if self._sandbox is not None:
            self._sandbox = None
            self._close()

    def _lent(self) -> Sandbox:
        if self._sandbox is None:
            raise SandboxError("the sandbox was given back to its pool, or closed; take another")
        return self._sandbox
