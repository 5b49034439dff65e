"""A task's repository in a sandbox: put there, stripped of its future, changed by a patch, and compared with its base.

What an agent did to a repository is data, also where it broke git. That a sandbox has no git is `SandboxError`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from stepgym.errors import SandboxError, TaskError
from stepgym.rewards.swe.masked import gold_masked
from stepgym.sandboxes import Bind, Sandbox, Spec
from stepgym.tasks.swe import ENVIRONMENT, Instance
from stepgym.tasks.swe_python import cache_folder, environment
from stepgym.tasks.swe_source import PACKAGED, materialise

SECONDS = 300.0
"""What git may take at one time."""
LARGEST = 20_000_000
"""Bytes of a diff that are brought out of a sandbox."""
GIT = (
    "git -c safe.directory='*' -c core.fileMode=true -c core.autocrlf=false -c core.hooksPath=/dev/null"
    " -c core.fsmonitor=false -c core.attributesFile=/dev/null -c core.excludesFile=/dev/null -c gc.auto=0"
    " -c diff.noprefix=false -c diff.mnemonicPrefix=false -c core.quotePath=true -c diff.suppressBlankEmpty=false"
    " -c commit.gpgSign=false -c user.name=base -c user.email=base@localhost -c advice.addEmbeddedRepo=false"
)
"""Git with nothing of a repository's or a user's settings that would change what it does here."""
_DATE = "2020-01-01T00:00:00+0000"
_OUT, _ATTRIBUTES = "/tmp/.stepgym-diff", "/tmp/.stepgym-attributes"
_NO_GIT = 97
_NO_REPOSITORY = 98
_BASE_FAILED = 99

_CHECK = f"command -v git > /dev/null || exit {_NO_GIT}\n"

# An index of one's own, since that of a repository can say which files not to look at; the list of tracked files is
# kept, because some that are tracked match .gitignore.
_SCRUB = f"""
{_CHECK}
git() {{ command {GIT} "$@"; }}
git rev-parse --is-inside-work-tree > /dev/null 2>&1 || exit {_NO_REPOSITORY}
cd -- "$(git rev-parse --show-toplevel)" || exit {_NO_REPOSITORY}
if [ -s "$BASE_PATCH" ]; then git apply --whitespace=nowarn "$BASE_PATCH" || exit {_BASE_FAILED}; fi
if [ -s "$BASE_PATCH" ] || [ "$(git rev-list --all --reflog | wc -l)" != 1 ] || [ -n "$(git remote; git stash list)" ]
then
    tracked=$(mktemp) && git ls-files -z > "$tracked"
    tag=$(git describe --tags --abbrev=0 2>/dev/null)
    rm -rf .git
    git init --quiet . && git add --all . && git update-index --add --remove -z --stdin < "$tracked"
    rm -f -- "$tracked"
    GIT_AUTHOR_DATE={_DATE} GIT_COMMITTER_DATE={_DATE} git commit --quiet --no-verify --allow-empty -m base || exit 1
    if [ -n "$tag" ]; then git tag -- "$tag"; fi
fi
rm -rf .git/hooks .git/logs .git/info/attributes
if [ -n "$BASE_PATCH" ]; then rm -f -- "$BASE_PATCH"; fi
git config --global --add safe.directory "$PWD"
git rev-parse HEAD
"""

_DIFF = f"""
{_CHECK}
git() {{ command {GIT} "$@"; }}
out=$1 base=$2 setting=$3
rm -f -- "$out"
export GIT_INDEX_FILE="$out.index" GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0
cd -- "$(git rev-parse --show-toplevel)" || exit {_NO_REPOSITORY}
if [ -z "$base" ]; then base=$(git rev-list --max-parents=0 HEAD | tail -n 1); fi
git read-tree "$base" && git add --all . || exit 1
git $setting diff --cached --binary --no-color --no-ext-diff --no-textconv --no-renames \\
    --src-prefix=a/ --dst-prefix=b/ "$base" | head -c {LARGEST + 1} > "$out"
rm -f -- "$GIT_INDEX_FILE"
"""

_APPLY = f"""
{_CHECK}
git() {{ command {GIT} "$@"; }}
patch=$1
pristine() {{ git checkout --quiet -- . && git clean --quiet -fd; }}
start=$(git stash create 2>/dev/null)
restore() {{ pristine; if [ -n "$start" ]; then git stash apply --quiet "$start"; fi; }}
git apply --verbose "$patch" && echo ">>>>> 1" && exit 0
git apply --verbose --3way "$patch" && echo ">>>>> 2" && exit 0
restore
git apply --verbose --reject "$patch" && echo ">>>>> 3" && exit 0
restore
command -v patch > /dev/null && patch --batch --forward --fuzz=5 -p1 -i "$patch" && echo ">>>>> 4" && exit 0
git apply --check --reverse "$patch" && echo ">>>>> 5" && exit 0
restore
exit 1
"""
HOW = ("", "git apply", "git apply --3way", "git apply --reject", "patch --fuzz=5", "it is applied already")
"""The ways in which swebench 5 applies a patch, in their order; each begins with the files as they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """What came of applying a patch."""

    applied: bool
    how: str = ""
    """One of `HOW`."""
    output: str = ""
    """What git and patch said."""


def spec_for(instance: Instance, spec: Spec | None = None) -> Spec:
    """What a sandbox holds for a task: its repository at `Instance.workdir`, its image, its Python packages.

    The rest (limits, network, environment) is as in `spec`. Raises `TaskError` for a source that cannot be had.
    """
    spec = replace(spec or Spec(), workdir=instance.workdir)
    if instance.requirements:
        spec = replace(spec, binds=(*spec.binds, Bind(environment(instance.requirements), ENVIRONMENT)))
    if instance.source:
        return replace(spec, workspace=checkout(instance.source), binds=(*spec.binds, *gold_masked()))
    if not instance.image:
        raise TaskError(f"{instance.repo}: the task names neither an image nor a source of its repository")
    return replace(spec, image=instance.image)


def checkout(source: str) -> Path:
    """The folder with the repository of `Instance.source`, made once for its contents and kept. Raises `TaskError`."""
    return _checkout(source, _fingerprint(source))


@lru_cache(maxsize=4096)
def _checkout(source: str, fingerprint: str) -> Path:
    folder = cache_folder() / "repositories" / fingerprint
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        materialise(source, made)
        made.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _fingerprint(source: str) -> str:
    """Changes with the source's files, as far as their sizes and times tell."""
    path = Path(__file__).parents[2] / "tasks" / source.removeprefix(PACKAGED) if source.startswith(PACKAGED) else None
    place = path or Path(source)
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass"))
    try:
        for name, found in _files(place):
            digest.update(f"\0{name}\0{found.st_mode}\0{found.st_size}\0{found.st_mtime_ns}".encode("utf-8", "replace"))
    except OSError as error:
        raise TaskError(f"{place}: the repository's files cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:24]


def _files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    yield "", place.stat()
    if not place.is_dir():
        return
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(files):
            found = os.lstat(os.path.join(folder, name))
            if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                yield os.path.relpath(os.path.join(folder, name), place), found


def prepare(sandbox: Sandbox, instance: Instance) -> str:
    """Make the base all that the repository knows: a single commit, without history, tags to come, hooks, remotes.

    Its hash is returned; it depends on the files alone. The name of the last tag stays, as versions are made of it.
    Raises `SandboxError` where there is no git or no repository, or `Instance.base_patch` does not apply.
    """
    if instance.base_patch:
        sandbox.write("/tmp/base.patch", instance.base_patch)
    done = sandbox.exec(_SCRUB, timeout=SECONDS, env={"BASE_PATCH": "/tmp/base.patch" if instance.base_patch else ""})
    why = {
        _NO_GIT: "the sandbox's image has no git",
        _NO_REPOSITORY: f"there is no git repository at {instance.workdir}",
        _BASE_FAILED: "the patch that makes its base does not apply",
    }.get(done.exit_code, "git failed")
    if not done.ok:
        raise SandboxError(f"{instance.repo}: {why}: {done.why or done.output.strip()[-400:]}")
    return done.output.split()[-1]


def commit_base(sandbox: Sandbox, instance: Instance) -> None:
    """Put the bug in that makes the base (`Instance.base_patch`), as a commit, with the history as it is.

    A patch that is tried upon it in several ways finds the same base each time. Raises `SandboxError`.
    """
    if not instance.base_patch:
        return
    done = apply(sandbox, instance.base_patch)
    if not done.applied:
        raise SandboxError(f"{instance.repo}: the patch that makes its base does not apply: {done.output[-300:]}")
    made = sandbox.exec(f"{GIT} add --all && {GIT} commit --quiet --no-verify --message base", timeout=SECONDS)
    if not made.ok:
        raise SandboxError(f"{instance.repo}: its base cannot be committed: {made.why or made.output[-300:]}")


def diff(sandbox: Sandbox, instance: Instance, base: str = "") -> str:
    """What was changed since the base, as git tells it; new files included, ignored ones not.

    `base` is what `prepare` returned; by default the root of the history that the repository has. The same changes
    give the same diff. It is empty where the agent broke its repository or changed more than `LARGEST` bytes: such work
    cannot be handed in. Files that are no text stand in it as git's binary patches.
    """
    found = _diff(sandbox, instance, base)
    try:
        return found.decode()
    except UnicodeDecodeError:
        sandbox.write(_ATTRIBUTES, "".join(f"{pattern} -diff\n" for pattern in _not_text(found)))
    return _diff(sandbox, instance, base, f"-c core.attributesFile={_ATTRIBUTES}").decode("utf-8", "replace")


def _diff(sandbox: Sandbox, instance: Instance, base: str, setting: str = "") -> bytes:
    done = sandbox.exec(f'set -- {_OUT} "{base}" "{setting}"\n{_DIFF}', timeout=SECONDS, cwd=instance.workdir)
    if done.exit_code == _NO_GIT:
        raise SandboxError("the sandbox's image has no git")
    try:
        return sandbox.read(_OUT, limit=LARGEST) if done.ok else b""
    except OSError:
        return b""


def _not_text(diff: bytes) -> Iterator[str]:
    """Patterns of attributes for files that are neither UTF-8 nor binary in git's eyes."""
    for part in diff.split(b"\ndiff --git "):
        try:
            part.decode()
        except UnicodeDecodeError:
            name = re.match(rb"(?:diff --git )?a/([\w./ -]+) b/\1\n", part)
            yield f'"/{name[1].decode()}"' if name else "*"


def apply(sandbox: Sandbox, patch: str) -> ApplyResult:
    """Apply a patch to the repository in the ways that swebench 5 tries, in their order (`HOW`)."""
    try:
        sandbox.write("/tmp/.stepgym-patch", patch)
    except OSError as error:
        return ApplyResult(applied=False, output=f"the patch is no text: {error.strerror}")
    done = sandbox.exec("set -- /tmp/.stepgym-patch\n" + _APPLY, timeout=SECONDS)
    if done.exit_code == _NO_GIT:
        raise SandboxError("the sandbox's image has no git")
    if done.timed_out:
        return ApplyResult(applied=False, output=f"it took more than {SECONDS:g} s")
    if not done.ok:
        return ApplyResult(applied=False, output=done.output)
    said, _, number = done.output.rpartition(">>>>> ")
    return ApplyResult(applied=True, how=HOW[int(number)], output=said)
