"""Tasks made of two releases and of commits: what is read of sdists, and real runs in sandboxes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from stepgym.errors import ConfigError, SandboxError, TaskError
from stepgym.evals.swe_download import sdist
from stepgym.evals.swe_making import compare
from stepgym.evals.swe_making_commands import FromGitConfig, FromPypiConfig, from_git, from_pypi
from stepgym.sandboxes import make
from stepgym.tasks import load
from stepgym.tasks.swe import instance_of
from stepgym.tasks.swe_git import commits
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_pypi import releases
from stepgym.tasks.swe_python import environment, pinned
from stepgym.tasks.swe_source import git, materialise

INFO = "Metadata-Version: 2.1\nName: Some.Thing\nVersion: {}\nRequires-Dist: click>=8\n"
EXTRAS = (
    'Requires-Dist: hypothesis; extra == "test"\n'
    'Requires-Dist: tomli; python_version < "3.11" and extra == "tests"\n'
    'Requires-Dist: sphinx; extra == "docs"\nRequires-Dist: some_thing[x]; extra == "test"\n'
)
OLD = {
    "PKG-INFO": INFO.format("1.0"),
    "src/some_thing.egg-info/PKG-INFO": "",
    "src/some_thing.egg-info/entry_points.txt": "[console_scripts]\nthing = thing:main\n",
    "src/thing.py": "def double(x):\n    return x + x + 1\n",
    "tests/test_thing.py": "from thing import double\n\n\ndef test_zero():\n    assert double(0) == 1\n",
    "CHANGES.md": "# 1.0\n\nFirst.\n",
    "gone.txt": "x\n",
}
NEW = {
    **OLD,
    "PKG-INFO": INFO.format("1.1") + EXTRAS,
    "src/thing.py": "def double(x):\n    return x + x\n",
    "tests/test_thing.py": "from thing import double\n\n\ndef test_two():\n    assert double(2) == 4\n",
    "CHANGES.md": "# 1.1\n\n`double` doubles.\n\n# 1.0\n\nFirst.\n",
    "logo.png": "\x89PNG\x00\x01",
}
del NEW["gone.txt"]


def packed(path: Path, files: dict[str, str], root: str = "some_thing-1/") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(root + name)
            member.size = len(text.encode("latin-1"))
            tar.addfile(member, io.BytesIO(text.encode("latin-1")))
    return path


def test_two_sdists_are_cut_in_two(tmp_path: Path) -> None:
    old, new = packed(tmp_path / "old.tar.gz", OLD), packed(tmp_path / "new.tar.gz", NEW)
    found = releases("Some.Thing", old, new, ("1.0", "1.1"), tmp_path / "scratch")
    assert found.id == "some-thing__1.0-1.1"
    assert {(change.before, change.after) for change in changes(found.gold)} == {
        ("src/thing.py", "src/thing.py"),
        ("CHANGES.md", "CHANGES.md"),
        ("gone.txt", ""),
    }
    assert [change.path for change in changes(found.test_patch)] == ["tests/test_thing.py"]
    assert found.test_files == ("tests/test_thing.py",)
    assert found.paths == ("src",)
    assert found.requirements == ("click>=8", "hypothesis", 'tomli; python_version < "3.11"')
    assert "the changelog of 1.1" in found.issue
    assert "`double` doubles." in found.issue
    assert "First." not in found.issue
    files = {str(path.relative_to(found.folder)) for path in found.folder.rglob("*") if ".git" not in path.parts}
    installed = "src/some_thing-1.0.dist-info"
    assert {f"{installed}/METADATA", f"{installed}/entry_points.txt", "tests/test_thing.py"} <= files
    assert not any("egg-info" in name or "PKG-INFO" in name or "png" in name for name in files)
    assert "double(0) == 1" in (found.folder / "tests/test_thing.py").read_text()


def test_requirements_of_an_older_sdist(tmp_path: Path) -> None:
    older = "click\n\n[:python_version < '3']\nenum34\n\n[docs]\nsphinx\n\n[test:os_name == 'nt']\ncolorama\n"
    plain = {**NEW, "PKG-INFO": "Name: x\n", "src/some_thing.egg-info/requires.txt": older}
    old, new = packed(tmp_path / "old.tar.gz", OLD), packed(tmp_path / "new.tar.gz", plain)
    found = releases("some-thing", old, new, ("1.0", "1.1"), tmp_path / "scratch")
    assert found.requirements == ("click", "colorama; (os_name == 'nt')", "enum34; (python_version < '3')")


BAD = {
    "two folders": ({**OLD, "../x/a": ""}, "does not hold one folder"),
    "a way out": ({"../../a": ""}, "cannot be unpacked"),
    "no metadata": ({"src/thing.py": ""}, "no PKG-INFO"),
    "no tests": ({k: v for k, v in NEW.items() if "test" not in k}, "no test modules"),
    "only tests": ({**OLD, "tests/test_thing.py": "x"}, "nothing is changed but tests"),
    "no change of tests": ({**OLD, "src/thing.py": "x"}, "nothing is changed but what is no test"),
    "another encoding": ({**NEW, "src/thing.py": "# \xe9\n"}, "neither UTF-8 nor binary"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_sdist_of_no_use_is_refused(name: str, tmp_path: Path) -> None:
    files, said = BAD[name]
    old, new = packed(tmp_path / "old.tar.gz", OLD), packed(tmp_path / "new.tar.gz", files)
    with pytest.raises(TaskError, match=said):
        releases("some-thing", old, new, ("1.0", "1.1"), tmp_path / "scratch")


def test_flaky_tests_are_dropped() -> None:
    before = [
        {"a": "PASSED", "b": "FAILED", "c": "PASSED", "d": "FAILED"},
        {"a": "PASSED", "b": "FAILED", "c": "FAILED"},
    ]
    after = [
        {**dict.fromkeys("abcd", "PASSED"), "e": "PASSED", "f": "SKIPPED"},
        {**dict.fromkeys("abcde", "PASSED"), "f": "SKIPPED"},
    ]
    lists = compare(before, after)
    assert (lists.fail_to_pass, lists.pass_to_pass, lists.flaky) == (("b", "e"), ("a",), ("c", "d"))


def test_names_that_pip_would_take_for_something_else() -> None:
    for name in ("--index-url=x", "a/b", "../a", "a @ https://x/y", "a;b\nc", ""):
        with pytest.raises(TaskError, match="not a package's name"):
            environment([name])
    for name, version in (("../x", "1.0"), ("x", "1.0; rm"), ("-e", "1"), ("x", "--pre")):
        with pytest.raises(ConfigError, match="a release is"):
            sdist(name, version)


# ---- what follows runs tests in sandboxes, with pytest from the package index


@pytest.fixture(scope="module")
def runs() -> None:
    """Skips where no sandbox, or no package, can be had. Environments are kept between runs of the tests."""
    try:
        with make("namespace"):
            pass
        pinned(["pytest"])
    except (SandboxError, TaskError) as error:
        pytest.skip(f"tests cannot be run: {error}")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.home() / ".cache" / "stepgym-tests"))


def history(folder: Path, *states: dict[str, str]) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number, state in enumerate(states):
        for name, text in state.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        git(folder, "add", "--all", ".")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", f"Change {number}")
    return folder


FIRST = {
    "thing.py": "def double(x):\n    return x + 2\n",
    "tests/test_thing.py": "from thing import double\n\ndef test_two():\n    assert double(2) == 4\n",
}
SECOND = {
    "thing.py": "def double(x):\n    return x * 2\n",
    "tests/test_more.py": "import pytest\nfrom thing import double\n\n"
    "@pytest.mark.parametrize('x', ['a', 'b c'])\ndef test_text(x):\n    assert double(x) == x + x\n",
}


def test_commits_become_a_task(tmp_path: Path, runs: None, cache: None, capsys: pytest.CaptureFixture[str]) -> None:
    repository = history(tmp_path / "thing", FIRST, SECOND, {"later.py": "secret = 1\n"})
    (repository / "thing.py").write_text("not committed")
    out = tmp_path / "out" / "tasks.jsonl"
    for _ in range(2):  # the second time in place of the first
        from_git(FromGitConfig(repository=repository, range="main~2..main~1", out=out, repeats=2))
    (task,) = load(out)
    instance = instance_of(task)
    assert task.prompt == "Change 1"
    assert instance.fail_to_pass == ("tests/test_more.py::test_text[a]", "tests/test_more.py::test_text[b c]")
    assert instance.pass_to_pass == ("tests/test_thing.py::test_two",)
    assert any(requirement.startswith("pytest==") for requirement in instance.requirements)
    assert "2 tests to fix, 1 to keep" in capsys.readouterr().err
    folder = tmp_path / "base"
    assert materialise(instance.source, folder) == instance.base_commit
    assert sorted(path.name for path in folder.rglob("*.py")) == ["test_thing.py", "thing.py"]
    assert git(repository, "status", "--porcelain").split() == ["M", "thing.py"]


def test_a_change_that_no_test_sees_is_refused(tmp_path: Path, runs: None, cache: None) -> None:
    tests = {"tests/test_thing.py": FIRST["tests/test_thing.py"] + "\ndef test_four():\n    assert double(2) == 4\n"}
    repository = history(tmp_path / "thing", FIRST, {"thing.py": FIRST["thing.py"] + "\n", **tests})
    with pytest.raises(TaskError, match="no test fails before the change and passes after it"):
        from_git(FromGitConfig(repository=repository, range="HEAD~1..HEAD", out=tmp_path / "tasks.jsonl", repeats=1))
    lacking = {"thing.py": "y = 1\n", "tests/test_thing.py": "import nowhere_to_be_had\n"}
    repository = history(tmp_path / "lacking", FIRST, lacking)
    with pytest.raises(TaskError, match="the tests lack nowhere_to_be_had: name the packages with --requirements"):
        from_git(FromGitConfig(repository=repository, range="HEAD~1..HEAD", out=tmp_path / "tasks.jsonl", repeats=1))
    assert not (tmp_path / "tasks.jsonl").exists()


def test_two_real_releases(tmp_path: Path, runs: None, cache: None, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tasks.jsonl"
    for _ in range(2):
        from_pypi(FromPypiConfig(name="toolz", old="0.11.2", new="0.12.0", out=out, repeats=1))
    (task,) = load(out)
    assert task.id == "toolz__0.11.2-0.12.0"
    assert len(instance_of(task).fail_to_pass) == 2
    assert len(instance_of(task).pass_to_pass) > 100
    assert "taken from the cache" in capsys.readouterr().err


def test_an_interrupt_leaves_nothing(tmp_path: Path, runs: None, cache: None) -> None:
    slow = {**SECOND, "tests/test_slow.py": "import time\n\ndef test_slow():\n    time.sleep(100)\n"}
    repository = history(tmp_path / "thing", FIRST, slow)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = ["tasks", "from-git", str(repository), "HEAD~1..HEAD", "--out", str(tmp_path / "tasks.jsonl")]
    process = subprocess.Popen(
        [sys.executable, "-m", "stepgym.cli", *command],
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "resolving the packages" in process.stderr.readline()
    deadline = time.monotonic() + 60
    while not list(Path("/proc").glob("[0-9]*/cmdline")) or not running("test_slow.py"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "interrupted" in process.stderr.read()
    process.stderr.close()
    assert not list(scratch.glob("stepgym-swe-*"))
    assert not (tmp_path / "tasks.jsonl").exists()
    while running("test_slow.py"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def running(word: str) -> bool:
    """Whether a process of this machine has the word among its arguments, and pytest."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes()
        except OSError:
            continue
        if word.encode() in line and b"addopts=" in line:
            return True
    return False


def test_ranges_that_are_none(tmp_path: Path) -> None:
    repository = history(tmp_path / "thing", FIRST, SECOND)
    for name, said in {"HEAD": "is BASE..HEAD", "x..HEAD": "no commit 'x'", "--all..HEAD": "no commit '--all'"}.items():
        with pytest.raises(TaskError, match=said):
            commits(repository, name, tmp_path / "scratch")
    with pytest.raises(TaskError, match="is not a folder"):
        commits(tmp_path / "nowhere", "a..b", tmp_path / "scratch")
