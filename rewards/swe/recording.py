"""A record of a test run that the harness takes itself, inside a sandbox: what is put there, and how it is read.

A folder of a random name holds the watcher (`stepgym.rewards.swe.watching`) and keys. The tests' own command runs with
it on the search path, so that one run gives the log and the record. A run that took a key and did not come to its end
spoils the whole record; where several runs tell of a test, the worse outcome counts.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from stepgym.errors import SandboxError
from stepgym.rewards.swe.marks import END, START
from stepgym.rewards.swe.record import LARGEST, RunRecord, TestRecord, read_record
from stepgym.rewards.swe.watching import MOST_RUNS
from stepgym.sandboxes import Sandbox

_WATCHED = re.compile(r"\b(?:py\.?test|unittest|runtests\.py|manage\.py)\b")
"""Programs that run tests with pytest or unittest."""
_SITE = """

sys.meta_path.insert(0, UnittestFinder())
_mine, _path = sys.modules.pop("sitecustomize"), sys.path[:]
sys.path[:] = [place for place in _path if place != os.path.dirname(os.path.abspath(__file__))]
try:
    import sitecustomize
except ImportError:
    pass
finally:
    sys.path[:] = _path
    sys.modules.setdefault("sitecustomize", _mine)
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """One record to be taken, under names that nothing knows beforehand."""

    module: str = field(default_factory=lambda: f"m{secrets.token_hex(6)}")
    keys: tuple[bytes, ...] = field(
        default_factory=lambda: tuple(secrets.token_bytes(32) for _ in range(MOST_RUNS)), repr=False
    )

    @property
    def folder(self) -> str:
        """Where it lies in the sandbox."""
        return f"/var/tmp/{self.module}"

    def install(self, sandbox: Sandbox) -> None:
        """Put the watcher and its keys into a sandbox. Raises `SandboxError`."""
        keys = "".join(f"printf {key.hex()} > key-{number};" for number, key in enumerate(self.keys))
        done = sandbox.exec(
            f"mkdir -p {self.folder} && cd {self.folder} && chmod 700 . && cat > {self.module}.py"
            f" && {{ cat {self.module}.py; printf %s {shlex.quote(_SITE)}; }} > sitecustomize.py && {{ {keys} }}",
            stdin=_watcher(),
        )
        if not done.ok:
            raise SandboxError(f"the watcher of the tests could not be put in place: {done.why or done.output[-200:]}")

    def watched(self, script: str) -> str:
        """The script, whose tests are watched."""
        lines = script.split("\n")
        at = next((index for index, line in enumerate(lines) if START in line), None)
        if at is None:
            return script
        search = f'export PYTHONPATH="{self.folder}${{PYTHONPATH:+:$PYTHONPATH}}"'
        options = f'export PYTEST_ADDOPTS="-p {self.module} ${{PYTEST_ADDOPTS:-}}"'
        return "\n".join([*lines[:at], search, options, *lines[at:]])

    def read(self, sandbox: Sandbox, script: str) -> RunRecord | None:
        """What was recorded. None where no run took a key and none had to: `script` names neither pytest nor unittest.

        Raises `SandboxError`.
        """
        try:
            left = sandbox.exec(f"cd {self.folder} && ls").output.split()
        except SandboxError:  # what the tests left running may be in the way
            sandbox.exec("kill -9 -1")
            left = sandbox.exec(f"cd {self.folder} && ls").output.split()
        found: list[RunRecord] = []
        for number, key in enumerate(self.keys):
            if f"key-{number}" in left:
                continue
            try:
                data = sandbox.read(f"{self.folder}/record-{number}", limit=LARGEST)
            except OSError:
                data = b""
            found.append(read_record(data, key))
        if not found and _WATCHED.search(script.partition(START)[2].partition(END)[0]):
            return RunRecord(flaw="the tests did not begin")
        return _together(found) if found else None


def _together(records: list[RunRecord]) -> RunRecord:
    tests: list[TestRecord] = [line for record in records for line in record.tests]
    flaw = next((record.flaw for record in records if record.flaw), "")
    codes = [record.exit_code for record in records]
    worst = None if None in codes else max(code for code in codes if code is not None)
    return RunRecord(tests=tuple(tests), exit_code=worst, flaw=flaw)


@cache
def _watcher() -> str:
    """What is imported inside: the recorder, and below it the watcher."""
    here = Path(__file__).parent
    return "".join((here / name).read_text(encoding="utf-8") for name in ("recorder.py", "watching.py"))
