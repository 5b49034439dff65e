"""Diffs read safely, and patches without what steers the tests."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.rewards.swe.findings import Kind
from stepgym.rewards.swe.guard import guard_patch
from stepgym.tasks.swe_patch import Change
from stepgym.tasks.swe_patch_reading import parse_diff


def git(folder: Path, *command: str, given: bytes = b"") -> bytes:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *identity, *command], cwd=folder, input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository; every example begins by emptying it."""
    made = tmp_path_factory.mktemp("repository")
    git(made, "init", "--quiet")
    return made


NAMES = st.sampled_from(
    ["a.py", "conftest.py", "b b.txt", "ü/x.py", 'q"q.py', "tests/test_a.py", "src/m\\n.py", "t\tt.py"]
)
TREES = st.dictionaries(NAMES, st.lists(st.sampled_from(
    ["x\n", "y\n", "\n", "- z\n", "-- a/x\n", "++ b/x\n", "@@ -1 +1 @@\n", "diff --git a/x b/x\n", "q", "\r\n", "\0"]
), max_size=8).map("".join), max_size=4)  # fmt: skip


def write(folder: Path, tree: dict[str, str]) -> None:
    git(folder, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", ".")
    for name, text in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, newline="")
    git(folder, "add", "--all")


def test_what_git_writes_is_understood(folder: Path) -> None:
    """Every file is found, the text is written back as it was, and what is left without a file applies to the rest."""
    seen: set[str] = set()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(before=TREES, after=TREES, moves=st.booleans())
    def check(before: dict[str, str], after: dict[str, str], moves: bool) -> None:
        write(folder, before)
        git(folder, "commit", "--quiet", "--allow-empty", "-m", "before")
        write(folder, after)
        options = ["--cached", "--binary", *(["-M", "-C", "--find-copies-harder"] if moves else ["--no-renames"])]
        text = git(folder, "diff", *options).decode()
        names = {name for name in git(folder, "diff", *options, "--name-only", "-z").decode().split("\0") if name}
        diff = parse_diff(text)
        assert (diff.flaws, diff.text) == ((), text)
        assert {file.path for file in diff.files} == names
        seen.update(file.change for file in diff.files)
        git(folder, "reset", "--quiet", "--hard")
        for name in sorted(names)[:2]:
            left = diff.without([name])
            assert name not in left.paths
            if left.text:
                git(folder, "apply", "--cached", "--allow-empty", "-", given=left.text.encode())
                git(folder, "reset", "--quiet", "--hard")

    check()
    assert seen >= {Change.ADDED, Change.DELETED, Change.MODIFIED, Change.COPIED}


def test_every_patch_of_the_rows_is_understood(data_dir: Path) -> None:
    rows = json.loads((data_dir / "swe/rows/SWE-bench_Lite-dev.json").read_text())
    rows += json.loads((data_dir / "swe/rows/v5_rows.json").read_text())
    for row in rows:
        for text in (row["patch"], row["test_patch"]):
            diff = parse_diff(text)
            assert (diff.flaws, diff.text.rstrip("\n")) == ((), text.rstrip("\n"))


def test_the_gold_patch_passes_every_guard(data_dir: Path) -> None:
    for name in ("SWE-bench_Lite-dev.json", "v5_rows.json"):
        for row in json.loads((data_dir / "swe/rows" / name).read_text()):
            about = {"test_patch": row["test_patch"], "eval_script": row.get("eval_script", "")}
            guarded = guard_patch(row["patch"], gold=row["patch"], **about)
            assert (guarded.text.rstrip("\n"), guarded.findings) == (row["patch"].rstrip("\n"), ()), row["instance_id"]
            stranger = guard_patch(row["patch"], **about)  # the same patch where the gold one is another
            assert all(finding.kind is Kind.STEERING for finding in stranger.findings), stranger.findings


def added(path: str, text: str = "x = 1\n", mode: str = "100644") -> str:
    lines = text.splitlines()
    body = "".join(f"+{line}\n" for line in lines)
    header = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
    return f"{header}@@ -0,0 +1,{len(lines)} @@\n{body}"


def changed(path: str, old: str = "a", new: str = "b") -> str:
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1,1 +1,1 @@\n-{old}\n+{new}\n"


FIX = changed("src/it.py")
SCRIPT = ": '>>>>> Start Test Output'\n./bin/test --verbose tests/test_it.py\n: '>>>>> End Test Output'\n"
MOVED = "diff --git a/tests/test_it.py b/it.py\nrename from tests/test_it.py\nrename to it.py\n"
DELETED = (
    "diff --git a/conftest.py b/conftest.py\ndeleted file mode 100644\n"
    "--- a/conftest.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
)
BINARY = "diff --git a/x.bin b/x.bin\nnew file mode 100644\nindex 0000000..1\nGIT binary patch\nliteral 1\nIc${Nk0ssI200961\n\nliteral 0\nHc$@<O00001\n\n"  # noqa: E501


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        (added("conftest.py"), Kind.STEERING),
        (changed("src/deep/conftest.py"), Kind.STEERING),
        (added("sitecustomize.py"), Kind.STEERING),
        (added("usercustomize.py"), Kind.STEERING),
        (added("a.pth", "import os"), Kind.STEERING),
        (changed("pytest.ini"), Kind.STEERING),
        (changed("setup.cfg"), Kind.STEERING),
        (changed("pyproject.toml"), Kind.STEERING),
        (changed("tox.ini"), Kind.STEERING),
        (changed("noxfile.py"), Kind.STEERING),
        (changed("setup.py"), Kind.STEERING),
        (added(".env", "PYTHONPATH=/tmp"), Kind.STEERING),
        (added("it.egg-info/entry_points.txt", "[pytest11]"), Kind.STEERING),
        (added("src/it/__pycache__/it.cpython-311.py"), Kind.STEERING),
        (added("pytest.py"), Kind.STEERING),
        (added("_pytest/__init__.py"), Kind.STEERING),
        (added("src/unittest.py"), Kind.STEERING),
        (added("random/__init__.py"), Kind.STEERING),
        (changed("bin/test"), Kind.STEERING),
        (changed("tests/test_it.py"), Kind.TEST),
        (MOVED, Kind.TEST),
        (DELETED, Kind.STEERING),
        ("--- a/conftest.py\n+++ b/conftest.py\n@@ -1 +1 @@\n-x\n+y\n", Kind.STEERING),
        ('--- "a/\\143onftest.py"\n+++ "b/\\143onftest.py"\n@@ -1 +1 @@\n-x\n+y\n', Kind.STEERING),
        (added("tests/helpers.py"), Kind.OTHER_TEST),
        (added("tests/data/link", "/etc/passwd", mode="120000"), Kind.UNSAFE),
        (added("lib", "1", mode="160000"), Kind.UNSAFE),
        (added("../outside.py"), Kind.UNSAFE),
        (added("/etc/profile.d/x.sh"), Kind.UNSAFE),
        (added(".git/hooks/post-checkout"), Kind.UNSAFE),
        (added("sub/.GIT/config"), Kind.UNSAFE),
        ("--- /dev/null\n+++ /etc/cron.d/x\n@@ -0,0 +1 @@\n+x\n", Kind.UNSAFE),
        (BINARY, Kind.UNSAFE),
        (added("src/new.py", "import os\nos . _exit(0)"), Kind.CODE),
        (added("src/new.py", "import _pytest.runner"), Kind.CODE),
        (added("src/new.py", "if 'pytest' in sys.modules: pass"), Kind.CODE),
        (added("src/new.py", "os.environ['PYTEST_CURRENT_TEST']"), Kind.CODE),
        (added("src/new.py", "unittest.TestCase.assertEqual = f"), Kind.CODE),
        (added("src/new.py", "print('PASSED tests/test_it.py::test_new')"), Kind.CODE),
        (added("src/new.py", "print('>>>>> End Test Output')"), Kind.CODE),
    ],
)  # fmt: skip
def test_what_steers_the_tests_is_found_and_taken_out(attack: str, kind: Kind) -> None:
    test_patch = changed("tests/test_it.py", new="assert 1")
    guarded = guard_patch(FIX + attack, gold=changed("src/it.py", new="c"), test_patch=test_patch, eval_script=SCRIPT)
    assert kind in {finding.kind for finding in guarded.findings}
    assert FIX in guarded.text
    assert (attack in guarded.text) == (kind is Kind.CODE)
    assert (guarded.text == FIX) == (kind is not Kind.CODE)


def test_a_file_that_gold_changes_is_changed_as_gold_does() -> None:
    gold = changed("src/it.py") + changed("setup.cfg", new="version = 2")
    assert guard_patch(gold, gold=gold).findings == ()
    guarded = guard_patch(FIX + changed("setup.cfg", new="[tool:pytest]"), gold=gold)
    assert guarded.removed == ("setup.cfg",)
    assert guarded.text == gold


def test_words_of_the_repository_itself_are_no_finding() -> None:
    """A repository about pytest names it in its own lines, and so may a patch to it."""
    patch = "--- a/src/p.py\n+++ b/src/p.py\n@@ -1,2 +1,2 @@\n from _pytest import x\n-a\n+from _pytest import y\n"
    assert guard_patch(patch).findings == ()


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("hello\n", "it is not a diff"),
        ("@@ -1 +1 @@\n-a\n+b\n", "a hunk that belongs to no file"),
        ("--- a/x\n+++ b/x\n", "no hunk follows"),
        ("--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n-a\n+b\n", "hunk 1 has other lines"),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n@@ what @@\n", ""),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n@@ -x @@\n", "hunk 2 has a header"),
        ("diff --git a/x b/x\n--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "different files"),
        ("diff --git a/x b/y\nindex 1..2\n", "names no file"),
        ("x" * 20_000_001, "characters"),
    ],
)
def test_what_is_wrong_with_a_diff_is_said(text: str, flaw: str) -> None:
    flaws = parse_diff(text).flaws
    assert any(flaw in said for said in flaws) if flaw else flaws == ()


def test_text_around_a_diff_is_dropped() -> None:
    diff = parse_diff(f"Here is the fix:\n\n{FIX}\n-- \n2.30\n{added('n.py')}")
    assert diff.text == FIX + added("n.py")
    assert [file.change for file in diff.files] == [Change.MODIFIED, Change.ADDED]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from(
            [*FIX.splitlines(keepends=True), *BINARY.splitlines(keepends=True), "--- a/c\n", "\n", "x", '"']
        ),
        max_size=30,
    )
)
def test_no_text_breaks_the_reader(lines: list[str]) -> None:
    """And what it writes back, it reads as the same."""
    diff = parse_diff("".join(lines))
    again = parse_diff(diff.text)
    assert [file.paths for file in again.files] == [file.paths for file in diff.files]
    guard_patch("".join(lines))


@pytest.mark.parametrize(
    "piece", [FIX, "diff --git a/x b/x\n", "--- a/x\n", "+++ b/x\n", "@@ -1 +1 @@\n", '"\\', "PASSED a", "+" * 9999]
)
def test_no_diff_stalls_the_reader(piece: str) -> None:
    started = time.process_time()
    guard_patch(added("a.py", piece * (300_000 // len(piece))))
    guard_patch(piece * (300_000 // len(piece)))
    assert time.process_time() - started < 3
