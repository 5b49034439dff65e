"""swebench in an environment of its own, which answers questions: the oracle of tests."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

VERSION = "5.0.2"
ORACLE = Path(__file__).with_name("swebench_oracle.py")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stepgym-tests" / f"swebench-{VERSION}"


class Oracle:
    """One process of swebench; it takes seconds to import."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(ORACLE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=30)


def swebench_python() -> Path:
    """The Python of an environment that has swebench; made if it is not there. Raises `RuntimeError`."""
    if not CACHE.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as made:  # renamed when it is whole
            venv.create(made, with_pip=True)
            done = subprocess.run(
                [f"{made}/bin/python", "-m", "pip", "install", "--quiet", f"swebench=={VERSION}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(f"pip cannot install swebench {VERSION}: {done.stderr.strip()[-300:]}")
            with suppress(OSError):  # another run was faster
                Path(made).rename(CACHE)
            Path(made).mkdir(exist_ok=True)
    return CACHE / "bin" / "python"


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """swebench in an environment of its own, made once and kept in the cache folder."""
    try:
        python = swebench_python()
    except RuntimeError as error:
        pytest.skip(str(error))
    process = Oracle(python, tmp_path_factory.mktemp("oracle"))
    yield process
    process.close()
