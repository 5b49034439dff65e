"""A task's repository in a sandbox: its base alone, patches applied as swebench does, and the agent's diff."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stepgym.errors import SandboxError, TaskError
from stepgym.rewards.swe.repository import apply, checkout, diff, prepare, spec_for
from stepgym.sandboxes import Bind, Sandbox, Spec, make
from stepgym.tasks.swe import Instance
from stepgym.tasks.swe_source import pack, write_files
from tests.swe_attacks import diff as patch_of

pytestmark = pytest.mark.usefixtures("namespaces")

FILES = {
    "pkg/core.py": "".join(f"line_{number} = {number}\n" for number in range(40)),
    "README": "read me\n",
    ".gitignore": "*.log\n",
}


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    folder = tmp_path / "repository"
    write_files({name: text.encode() for name, text in FILES.items()}, folder)
    return Instance(repo="tests/repository", source=str(folder))


@pytest.fixture
def sandbox(instance: Instance) -> Iterator[Sandbox]:
    with make("namespace", spec_for(instance)) as sandbox:
        prepare(sandbox, instance)
        yield sandbox


def test_a_folder_and_its_archive_give_the_same_base(instance: Instance, tmp_path: Path) -> None:
    pack(Path(instance.source), tmp_path / "packed.tar.gz")
    packed = replace(instance, source=str(tmp_path / "packed.tar.gz"))
    heads = set()
    for each in (instance, packed):
        with make("namespace", spec_for(each)) as sandbox:
            heads.add(prepare(sandbox, each))
            assert sandbox.spec.workdir == "/testbed"
    assert len(heads) == 1


def test_a_checkout_is_made_once_and_again_when_the_source_changes(instance: Instance) -> None:
    first = checkout(instance.source)
    made = first.stat().st_mtime_ns
    assert checkout(instance.source) == first
    assert first.stat().st_mtime_ns == made
    Path(instance.source, "README").write_text("something else\n")
    second = checkout(instance.source)
    assert second != first
    assert (second / "README").read_text() == "something else\n"


def test_a_source_that_is_not_there_and_none_at_all() -> None:
    with pytest.raises(TaskError, match="cannot be read"):
        spec_for(Instance(repo="x", source="/nowhere/at-all.tar.gz"))
    with pytest.raises(TaskError, match="neither an image nor a source"):
        spec_for(Instance(repo="x"))


def test_the_future_is_scrubbed(instance: Instance) -> None:
    future = """
        git config user.name x; git config user.email x@y; git remote add origin http://example.com/x.git
        git tag v1.0; echo ignored > tracked.log; git add -f tracked.log; git commit -qm tracked
        echo fix > FUTURE; git add FUTURE; git commit -qm 'the fix'; git tag v2.0; git branch fixed
        git stash -q 2> /dev/null; git reset -q --hard HEAD~1
        printf '#!/bin/sh\\necho hooked\\n' > .git/hooks/post-commit; chmod +x .git/hooks/post-commit
        echo untracked > untracked.log
    """
    seek = """
        git log --all --reflog --format=%s; git tag; git remote; git branch -a --format='%(refname:short)'
        git fsck --unreachable --no-reflogs 2>/dev/null
        git cat-file --batch-check --batch-all-objects | grep -c commit
        git grep -l fix $(git rev-list --all) ; ls .git/hooks .git/logs 2>/dev/null; git status --short
    """
    with make("namespace", spec_for(instance)) as sandbox:
        assert sandbox.exec(future).ok
        base = prepare(sandbox, instance)
        base_tag_branch_commits = sandbox.exec(seek).output.replace("master", "main").split()
        assert base_tag_branch_commits == ["base", "v1.0", "main", "1"]
        assert sandbox.exec("git ls-files").output.split() == [".gitignore", "README", "pkg/core.py", "tracked.log"]
        assert prepare(sandbox, instance) == base
        assert diff(sandbox, instance) == ""


def test_a_bug_is_put_in_before_the_agent_comes(instance: Instance) -> None:
    buggy = replace(instance, base_patch=patch_of({"README": "a bug\n"}, FILES))
    with make("namespace", spec_for(buggy)) as sandbox:
        prepare(sandbox, buggy)
        assert sandbox.read("README") == b"a bug\n"
        assert sandbox.exec("git log --all --format=%s").output == "base\n"
        assert diff(sandbox, buggy) == ""
        with pytest.raises(SandboxError, match="does not apply"):
            prepare(sandbox, buggy)


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    with (
        make("namespace", workspace=tmp_path, workdir="/testbed") as sandbox,
        pytest.raises(SandboxError, match="no git repository at /testbed"),
    ):
        prepare(sandbox, Instance(repo="tests/none", source="x"))


def test_a_sandbox_without_git(instance: Instance, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if not program.name.startswith("git"):
            (programs / program.name).symlink_to(program)
    spec = Spec(binds=(Bind(programs, "/opt/bin"),), env={"PATH": "/opt/bin"})
    with make("namespace", spec_for(instance, spec)) as sandbox:
        for use in (
            lambda: prepare(sandbox, instance),
            lambda: diff(sandbox, instance),
            lambda: apply(sandbox, patch_of({"README": "x\n"}, FILES)),
        ):
            with pytest.raises(SandboxError, match="has no git"):
                use()


def test_the_diff_has_everything_and_can_be_applied(sandbox: Sandbox, instance: Instance) -> None:
    changed = sandbox.exec(
        """
        sed -i 's/line_3 = 3/line_3 = three/' pkg/core.py; git rm -q README; mkdir new; echo hello > 'new/a file.py'
        printf '\\xe9t\\xe9\\n' > latin.txt; head -c 300 /dev/urandom > data.bin; ln -s core.py pkg/link
        chmod +x pkg/core.py; touch empty; echo out > ignored.log; printf 'no newline' > last
        git -c user.name=a -c user.email=b commit -qam 'the agent commits'; echo more > later
        """
    )
    assert changed.ok, changed.output
    patch = diff(sandbox, instance)
    assert patch == diff(sandbox, instance)
    assert "ignored.log" not in patch
    assert "+line_3 = three" in patch
    with make("namespace", spec_for(instance)) as other:
        assert apply(other, patch).how == "git apply"
        show = "find . -name .git -prune -o -name '*.log' -prune -o ! -type d -printf '%p %m %l ' -exec sha1sum {} ';'"
        assert sorted(other.exec(show).output.split("\n")) == sorted(sandbox.exec(show).output.split("\n"))


def test_what_an_agent_does_to_git_does_not_change_the_diff(sandbox: Sandbox, instance: Instance) -> None:
    sandbox.exec("echo changed > README; echo new > new.py")
    honest = diff(sandbox, instance)
    sandbox.exec(
        """
        git update-index --assume-unchanged README; git config diff.noprefix true; git config core.fileMode false
        git config color.ui always; git config diff.external 'echo evil'; git config alias.diff '!echo evil'
        git config core.excludesFile /tmp/all; echo '*' > /tmp/all; git config core.hooksPath /tmp
        echo '*.py diff=evil' > .git/info/attributes; git config diff.evil.textconv 'echo evil'
        git config core.fsmonitor 'echo evil'; git config diff.context 0; git config core.autocrlf true
        git config diff.renames true; git config diff.mnemonicPrefix true
        """
    )
    assert diff(sandbox, instance) == honest


def test_work_that_cannot_be_handed_in_is_empty(sandbox: Sandbox, instance: Instance) -> None:
    sandbox.exec("head -c 30000000 /dev/urandom > large.bin")
    assert diff(sandbox, instance) == ""
    sandbox.exec("rm -rf .git large.bin")
    assert diff(sandbox, instance) == ""


@pytest.mark.parametrize(
    ("how", "edit"),
    [
        ("git apply", lambda text: text),
        ("patch --fuzz=5", lambda text: text.replace("line_18 = 18", "line_18 = eighteen", 1)),
        ("", lambda text: text.replace(" line_", " nothing_").replace("-line_", "-nothing_")),
    ],
)
def test_patches_apply_as_swebench_applies_them(sandbox: Sandbox, how: str, edit: Callable[[str], str]) -> None:
    after = {"pkg/core.py": FILES["pkg/core.py"].replace("line_20 = 20", "line_20 = twenty")}
    result = apply(sandbox, edit(patch_of(after, FILES)))
    assert (result.applied, result.how) == (bool(how), how)
    assert (b"twenty" in sandbox.read("pkg/core.py")) == bool(how)
    if not how:
        assert "does not apply" in result.output
        assert sandbox.exec("git status --short").output == ""


def test_a_failed_patch_leaves_no_trace_and_keeps_what_was_there(sandbox: Sandbox) -> None:
    sandbox.exec("echo kept > README")
    good = patch_of({"pkg/core.py": FILES["pkg/core.py"].replace("line_5 = 5", "line_5 = five")}, FILES)
    bad = good + patch_of({"nothing/here.py": "x = 1\n"}, {"nothing/here.py": "y = 2\nz = 3\n"})
    assert not apply(sandbox, bad).applied
    assert sandbox.exec("git status --short").output == " M README\n"
    assert sandbox.read("README") == b"kept\n"
