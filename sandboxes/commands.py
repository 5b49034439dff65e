"""``stepgym sandboxes ls | prune``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from stepgym.errors import SandboxError
from stepgym.sandboxes.reaper import Trace, look, prune


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConfig:
    """Show what sandboxes keep outside themselves: folders, control groups, containers, images."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneConfig:
    """Remove what processes that are dead left of their sandboxes, and nothing else."""

    json: bool = False
    """Print JSON instead of a table."""


def list_all(config: ListConfig) -> None:
    """Print what sandboxes keep outside themselves, and whether their owners live."""
    found = look()
    _show(found.traces, as_json=config.json)
    if found.unseen:
        raise SandboxError(found.unseen)


def remove_leftovers(config: PruneConfig) -> None:
    """Remove what dead processes left of their sandboxes."""
    pruned = prune()
    _show(pruned.removed, as_json=config.json)
    print(f"{len(pruned.removed)} removed", file=sys.stderr)
    if pruned.failed:
        first = pruned.failed[0]
        raise SandboxError(f"{len(pruned.failed)} could not be removed; the first is {first.trace.where}: {first.why}")
    if pruned.unseen:
        raise SandboxError(pruned.unseen)


def _show(found: Sequence[Trace], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_row(trace) for trace in found], indent=2))
    elif found:
        print(f"{'KIND':<9}  {'PID':>7}  {'OWNER':<5}  WHERE")
        for trace in found:
            state = "dead" if trace.left else "lives"
            print(f"{trace.kind:<9}  {trace.owner.pid:>7}  {state:<5}  {trace.where}")


def _row(trace: Trace) -> dict[str, object]:
    owner = trace.owner
    return {
        "kind": trace.kind,
        "pid": owner.pid,
        "alive": not trace.left,
        "owner": owner.label,
        "where": trace.where,
    }
