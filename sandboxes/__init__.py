"""Where untrusted work runs: in processes that can be killed, under limits of CPU time and memory.

workers   a shared pool of worker processes for Python functions (the symbolic tier of the math verifier)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports

if TYPE_CHECKING:
    from stepgym.sandboxes.workers import OverBudgetError, WorkerPool, shared_pool

__getattr__ = exports(
    __name__,
    {
        "OverBudgetError": "stepgym.sandboxes.workers",
        "WorkerPool": "stepgym.sandboxes.workers",
        "shared_pool": "stepgym.sandboxes.workers",
    },
)

__all__ = ["OverBudgetError", "WorkerPool", "shared_pool"]
