"""Git's diffs read without git, against git itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.tasks.swe_patch import is_test
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_patch_reversal import reverse
from stepgym.tasks.swe_source import commit, git

LINES = st.lists(
    st.sampled_from(["a", "", "-- x", "++ y", "--- a/z", "+++ b/z", "diff --git a/q b/q", "@@ -1 +1 @@", "é"]),
    max_size=9,
)
FILES = st.dictionaries(
    st.sampled_from(["a.py", "b c.py", "d/é.txt", "tests/test_e.py"]), st.tuples(LINES, st.booleans()), max_size=4
)
Files = dict[str, tuple[list[str], bool]]


def write(folder: Path, files: Files) -> dict[str, str]:
    for name in git(folder, "ls-files", "-z").split("\0"):
        if name:
            (folder / name).unlink()
    texts = {name: "\n".join(lines) + ("\n" if ended and lines else "") for name, (lines, ended) in files.items()}
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "--all", ".")
    return texts


@settings(max_examples=25, deadline=None)
@given(FILES, FILES)
def test_the_files_are_those_git_names_and_the_reverse_takes_it_back(before: Files, after: Files) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commit(folder)
        was = write(folder, before)
        git(folder, "commit", "--quiet", "--allow-empty", "--message", "before")
        is_ = write(folder, after)
        diff = git(folder, "diff", "--cached", "HEAD", "--no-renames")
        if was == is_:
            with pytest.raises(ValueError, match="empty"):
                changes(diff)
            return
        found = {(change.before, change.after) for change in changes(diff)}
        changed = {path for path in {*was, *is_} if was.get(path) != is_.get(path)}
        assert found == {(path if path in was else "", path if path in is_ else "") for path in changed}
        assert reverse(reverse(diff)) == diff
        (folder / "back.diff").write_text(reverse(diff), encoding="utf-8")
        git(folder, "apply", "--index", "back.diff")
        git(folder, "diff", "--cached", "--exit-code", "HEAD")


def test_renames_modes_and_binary_files() -> None:
    renamed = (
        "diff --git a/x.py b/y.py\nold mode 100644\nnew mode 100755\nsimilarity index 100%\n"
        "rename from x.py\nrename to y.py\n"
    )
    (change,) = changes(renamed)
    assert (change.before, change.after, change.hunks) == ("x.py", "y.py", ())
    (back,) = changes(reverse(renamed))
    assert (back.before, back.after) == ("y.py", "x.py")
    assert "old mode 100755\nnew mode 100644" in reverse(renamed)
    binary = "diff --git a/x.png b/x.png\nindex 1..2 100644\nBinary files a/x.png and b/x.png differ\n"
    assert changes(binary)[0].binary
    with pytest.raises(ValueError, match=r"x\.png cannot be taken back"):
        reverse(binary)


def test_a_plain_diff() -> None:
    plain = "--- a/x\t2020\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- a/y\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
    assert [(change.before, change.after) for change in changes(plain)] == [("x", "x"), ("y", "")]
    first = changes(plain)[0]
    assert (first.header, first.hunks) == (("--- a/x\t2020", "+++ b/x"), ("@@ -1 +1 @@", "-a", "+b"))


@pytest.mark.parametrize("text", ["", " \n", "hello", "@@ -1 +1 @@\n-a\n+b\n", "diff --git nonsense\n"])
def test_what_is_no_diff(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        changes(text)


def test_which_files_are_tests() -> None:
    tests = ["tests/a.txt", "p/test/x.py", "test_a.py", "p/a_test.py", "conftest.py", "e2e/a.js", "testing/x"]
    others = ["p/a.py", "contest/a.py", "tests.py", "latest_x.py", "p/testing.py", "attestation/a"]
    assert all(map(is_test, tests))
    assert not any(map(is_test, others))
