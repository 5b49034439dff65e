"""``stepgym doctor``: what this machine and installation can do, and how to get what is missing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stepgym.codec import encode
from stepgym.errors import StepgymError


@dataclass(frozen=True, slots=True)
class Config:
    """What to print."""

    json: bool = False
    """Print the findings as JSON."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    fine: bool
    remedy: str = ""
    """What to do where it is not fine, or could be better."""


def main(config: Config) -> None:
    """Say what this machine and installation can do, and how to get what is missing."""
    findings = list(examine())
    if config.json:
        print(json.dumps(encode(findings), indent=2))
        return
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        remedy = f"   -> {finding.remedy}" if finding.remedy and not finding.fine else ""
        print(f"{'ok' if finding.fine else '--'}  {finding.what:<{width}}  {finding.found}{remedy}")


def examine() -> Iterator[Finding]:
    """Every finding, cheapest first. Imports nothing heavy."""
    yield Finding("python", f"{platform.python_version()} ({sys.executable})", sys.version_info >= (3, 11))
    yield Finding("machine", f"{os.cpu_count()} cores, {_memory()}, {_free_disk()} free here", fine=True)
    for package, purpose, remedy in _PACKAGES:
        yield _package(package, purpose, remedy)
    yield _namespaces()
    yield _containers()
    yield _task_data()
    yield _compiler()


_PACKAGES = (
    ("gymnasium", "environments", "pip install stepgym"),
    ("sympy", "the verifier's symbolic tier", "pip install stepgym"),
    ("httpx", "OpenAI-compatible endpoints", "pip install 'stepgym[api]'"),
    ("pyarrow", "Parquet task files", "pip install 'stepgym[data]'"),
    ("datasets", "task sets from the HuggingFace hub", "pip install 'stepgym[data]'"),
    ("torch", "training", "pip install 'stepgym[train]'"),
    ("transformers", "HuggingFace models", "pip install 'stepgym[train]'"),
    ("matplotlib", "learning curves", "pip install 'stepgym[train]'"),
    ("vllm", "vLLM's offline engine", "pip install 'stepgym[vllm]'"),
    ("math-verify", "Math-Verify as a grader", "pip install 'stepgym[graders]'"),
    ("docker", "sandboxes in containers", "pip install 'stepgym[docker]'"),
    ("ray", "sandboxes on other machines", "pip install 'stepgym[ray]'"),
)


def remedy_for(module: str) -> str:
    """How to get the package that has this module; "" if it is none of ours."""
    known = {package.replace("-", "_"): remedy for package, _, remedy in _PACKAGES}
    return known.get(module.partition(".")[0], "")


def _package(package: str, purpose: str, remedy: str) -> Finding:
    try:
        return Finding(package, f"{version(package)} for {purpose}", fine=True)
    except PackageNotFoundError:
        return Finding(package, f"not installed; needed for {purpose}", fine=False, remedy=remedy)


def _namespaces() -> Finding:
    """Starts a sandbox, since only that tells."""
    from stepgym import sandboxes
    from stepgym.sandboxes.namespaces.tiers import remedy, tier

    what = "sandbox namespace"
    try:
        with sandboxes.make("namespace") as sandbox:
            able = ", ".join(sorted(sandbox.capabilities))
            result = sandbox.exec("echo ready", timeout=30)
    except StepgymError as error:
        return Finding(what, str(error), fine=False, remedy=remedy())
    if result.output != "ready\n":
        return Finding(what, f"a command gave {result.output!r} ({result.why or result.exit_code})", fine=False)
    missing = sorted(set(sandboxes.Capability) - sandbox.capabilities)
    groups = "; run as root, or in a session that systemd delegates control groups to, for: " + ", ".join(missing)
    return Finding(what, f"{tier()}: {able}{groups if missing else ''}", fine=True)


def _containers() -> Finding:
    from stepgym import sandboxes

    what = "sandbox docker"
    remedy = "install docker.io and start dockerd, or set DOCKER_HOST; Podman's socket will do"
    try:
        sandbox = sandboxes.make("docker")
        return Finding(what, ", ".join(sorted(sandbox.capabilities)), fine=True)
    except (StepgymError, ImportError) as error:
        return Finding(what, str(error), fine=False, remedy=remedy)


def _task_data() -> Finding:
    folder = os.environ.get("STEPGYM_DATA", "")
    if folder and Path(folder).is_dir():
        return Finding("STEPGYM_DATA", folder, fine=True)
    found = f"{folder} is not a folder" if folder else "not set"
    return Finding("STEPGYM_DATA", found, fine=False, remedy="set it to a folder of task files, such as aime24.jsonl")


def _compiler() -> Finding:
    found = shutil.which("gcc") or shutil.which("cc")
    return Finding("C compiler", found or "none", bool(found), "only needed to install from source")


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _free_disk() -> str:
    return f"{shutil.disk_usage('.').free / 2**30:.0f} GiB"
