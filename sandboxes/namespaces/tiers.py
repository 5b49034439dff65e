"""How this machine lets its users make namespaces: by themselves, through bubblewrap, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from stepgym.errors import SandboxError
from stepgym.sandboxes.contract import Limits
from stepgym.sandboxes.namespaces.supervisor import PROGRAM, Supervisor


class Tier(StrEnum):
    """How a namespace sandbox comes about."""

    PLAIN = "plain namespaces"
    BUBBLEWRAP = "namespaces through bubblewrap"


_FOUND: list[Tier] = []


def start(limits: Limits, *, network: bool, address_space: int, cgroups: Sequence[Path]) -> Supervisor:
    """A launcher, in the way that works here. Raises `SandboxError`, with what to do, where none does."""
    refusals = []
    for tier in _FOUND or Tier:
        if tier is Tier.BUBBLEWRAP and not shutil.which("bwrap"):
            continue
        try:
            started = Supervisor(
                limits,
                network=network,
                address_space=address_space,
                cgroups=cgroups,
                bubblewrap=tier is Tier.BUBBLEWRAP,
            )
        except SandboxError as error:
            refusals.append(f"{tier}: {error}")
            continue
        _FOUND[:] = [tier]
        return started
    raise SandboxError(f"this machine allows no isolation ({'; '.join(refusals)}). {remedy()}")


def tier() -> Tier:
    """Which way works here. Raises `SandboxError` as `start` does."""
    start(Limits(), network=False, address_space=0, cgroups=()).close()
    return _FOUND[0]


def remedy() -> str:
    """What would let this machine's users make namespaces."""
    if not PROGRAM.is_file():
        return "The launcher was not built: reinstall stepgym where there is a C compiler"
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return "Run: sysctl -w kernel.unprivileged_userns_clone=1"
    if _setting("user/max_user_namespaces") == "0":
        return "Run: sysctl -w user.max_user_namespaces=15000"
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1" and not shutil.which("bwrap"):
        setting = "kernel.apparmor_restrict_unprivileged_userns=0"
        return f"Install bubblewrap with its AppArmor profile, or run: sysctl -w {setting}"
    return (
        "In a container, start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
        " --security-opt systempaths=unconfined; or use sandbox 'docker', or 'none' for commands you would run yourself"
    )


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
