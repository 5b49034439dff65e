"""One run of a task's hidden tests after a patch, in a sandbox that nothing else has used."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from stepgym.rewards.swe.marks import START
from stepgym.rewards.swe.record import RunRecord
from stepgym.rewards.swe.recording import Recording
from stepgym.rewards.swe.repository import GIT, ApplyResult, apply, commit_base
from stepgym.rewards.swe.twins import Twins, place_of, twins_of
from stepgym.sandboxes import Sandbox
from stepgym.tasks.swe import Instance
from stepgym.tasks.swe_patch_reading import parse_diff
from stepgym.tasks.swe_scripts import recorded

LARGEST_LOG = 64 << 20
"""Bytes of a log that are kept."""
LARGEST_FILE = 4 << 20
"""Bytes of a file of tests that has twins."""
MOST_FILES = 50
"""Files of tests that have twins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of it."""

    applied: ApplyResult
    """Nothing ran where the patch does not apply."""
    log: str = ""
    record: RunRecord | None = None
    """None where the tests run under something that is neither pytest nor unittest."""
    ended_by: str = ""
    """What of ours ended the tests: a time-out, a limit, their shell killed; empty where they came to their end."""
    timed_out: bool = False
    seconds: float = 0.0
    """That the tests' script took."""
    twins: tuple[Twins, ...] = ()
    """What stood in the place of the hidden tests."""


def run_tests(
    sandbox: Sandbox,
    instance: Instance,
    patch: str,
    *,
    timeout: float,
    twins_for: Sequence[str] = (),
    comparisons: bool = True,
) -> Run:
    """Apply `patch` and run the hidden tests, watched; with `twins_for`, the twins of these tests in their place.

    `comparisons` is as in `twins_of`.

    The sandbox must be started and hold the task's base. Raises `SandboxError` for what is not the patch's doing.
    """
    commit_base(sandbox, instance)
    twins = hidden_twins(sandbox, instance, twins_for, comparisons=comparisons) if twins_for else ()
    applied = apply(sandbox, patch) if patch else ApplyResult(applied=True)
    if not applied.applied or (twins_for and not twins):
        return Run(applied=applied)
    recording = Recording()
    recording.install(sandbox)
    script = recording.watched(recorded(instance.eval_script))
    if twins:
        script = _with_twins(sandbox, script, recording.folder, twins, instance.workdir)
    sandbox.write(f"{recording.folder}/eval.sh", script)
    result = sandbox.exec(f"bash {recording.folder}/eval.sh 2>&1", timeout=timeout, output_limit=LARGEST_LOG)
    return Run(
        applied=applied,
        log=result.output,
        record=recording.read(sandbox, instance.eval_script),
        ended_by=result.why or ("its log is too long" if result.truncated else ""),
        timed_out=result.timed_out,
        seconds=result.seconds,
        twins=twins,
    )


def hidden_twins(
    sandbox: Sandbox, instance: Instance, tests: Sequence[str], *, comparisons: bool = True
) -> tuple[Twins, ...]:
    """The twins of these tests, made of the hidden tests as they are with the base, before any patch is applied."""
    places = [place for test in tests if (place := place_of(test)) is not None]
    files = [path for path in parse_diff(instance.test_patch).paths if path.endswith(".py")]
    files += [f"{place.module}.py" for place in places if not instance.test_patch]
    files = [path for path in dict.fromkeys(files) if any(place.is_in(path) for place in places)][:MOST_FILES]
    if not files:
        return ()
    folder = "/var/tmp/hidden"
    sandbox.write("/tmp/test.patch", instance.test_patch)
    done = sandbox.exec(
        f'export GIT_INDEX_FILE=/tmp/hidden.index; git() {{ command {GIT} "$@"; }}; git read-tree HEAD && {{ [ ! -s '
        f"/tmp/test.patch ] || git apply --cached --whitespace=nowarn /tmp/test.patch; }} && "
        f"git checkout-index --force --quiet --prefix={folder}/ -- {shlex.join(files)}"
    )
    found: list[Twins] = []
    for path in files if done.ok else ():
        try:
            source = sandbox.read(f"{folder}/{path}", limit=LARGEST_FILE).decode()
        except (OSError, UnicodeDecodeError):
            continue
        if (twins := twins_of(path, source, tests, comparisons=comparisons)) is not None:
            found.append(twins)
    sandbox.exec(f"rm -rf {folder} /tmp/hidden.index /tmp/test.patch")
    return tuple(found)


def _with_twins(sandbox: Sandbox, script: str, folder: str, twins: Sequence[Twins], workdir: str) -> str:
    """The script, which puts the twins in the place of the hidden tests once these are there."""
    steps = []
    for number, twin in enumerate(twins):
        sandbox.write(f"{folder}/twin-{number}", twin.source)
        steps.append(f"mv -f {folder}/twin-{number} {shlex.quote(f'{workdir}/{twin.path}')}")
    lines = script.split("\n")
    at = next((index for index, line in enumerate(lines) if START in line), len(lines))
    return "\n".join([*lines[:at], *steps, *lines[at:]])
