"""What is special to the namespace sandbox: its tiers, its root file systems, what its first process hides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgym import sandboxes
from stepgym.errors import ConfigError, SandboxError
from stepgym.sandboxes import Bind, Capability, Sandbox
from stepgym.sandboxes.contract import make_spec


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandboxes.make("namespace") as made:
        yield made


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with bash, a few programs and the libraries they need."""
    root = tmp_path_factory.mktemp("image")
    for program in ("bash", "cat", "head", "mkdir", "rm", "ls", "sleep"):
        found = Path(shutil.which(program) or "").resolve()
        wanted = [found, *libraries(found)]
        for path in wanted:
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(path, target)
        (root / "bin").mkdir(exist_ok=True)
        if not (root / "bin" / program).exists():
            shutil.copy(found, root / "bin" / program)
    (root / "etc").mkdir()
    (root / "etc" / "marker").write_text("of the image\n")
    return root


def libraries(program: Path) -> list[Path]:
    printed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [Path(word) for word in printed.split() if word.startswith("/")]


def test_the_first_process_hides_its_arguments_and_environment(sandbox: Sandbox) -> None:
    """It is not in ``/proc`` at all, or, before Linux 5.8, there without a word of its own."""
    assert not sandbox.exec("cat /proc/1/cmdline 2>/dev/null").output.replace("\0", "").removesuffix("_launcher")
    for name in ("environ", "root/etc/shadow", "root", "cwd", "fd/*", "mem", "maps"):
        assert not sandbox.exec(f"cat /proc/1/{name} 2>/dev/null").output, name
        assert not sandbox.exec(f"readlink /proc/1/{name}").output, name


def test_there_is_no_privilege_left(sandbox: Sandbox) -> None:
    status = dict(
        line.split(":\t", 1) for line in sandbox.exec("cat /proc/self/status").output.splitlines() if ":\t" in line
    )
    assert {name: int(value, 16) for name, value in status.items() if name.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_only_what_is_needed_is_there(sandbox: Sandbox) -> None:
    assert set(sandbox.exec("ls /").output.split()) <= {
        *("bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root", "sbin", "tmp", "usr", "var"),
        *("workspace", *Path(sys.base_prefix).parts[1:2]),
    }
    names = {line.split(":")[0] for line in sandbox.exec("cat /etc/passwd").output.splitlines()}
    assert names == {"root", "nobody"}
    assert sandbox.exec("ls -A /root /home /tmp").output.split() == ["/home:", "/root:", "/tmp:"] or "/root/" in str(
        sys.base_prefix
    )


def test_the_running_python_is_there(sandbox: Sandbox) -> None:
    printed = sandbox.exec("python3 -c 'import sys; print(*sys.version_info[:3])'").output
    assert printed.split() == [str(number) for number in sys.version_info[:3]]


def test_an_image_is_the_whole_root(image: Path) -> None:
    before = sorted(path for path in image.rglob("*"))
    with sandboxes.make("namespace", image=str(image), workdir="/work") as sandbox:
        assert sandbox.exec("cat /etc/marker; ls /usr/bin").output.startswith("of the image\n")
        assert not sandbox.exec("ls /usr/bin/python3").ok
        assert (
            sandbox.exec("echo mine > /etc/marker; rm /bin/ls; echo x > f; cat /etc/marker /work/f").output
            == "mine\nx\n"
        )
        sandbox.reset()
        assert sandbox.exec("cat /etc/marker").output == "of the image\n"
    assert sorted(path for path in image.rglob("*")) == before
    assert (image / "etc" / "marker").read_text() == "of the image\n"


def test_a_link_in_an_image_leads_nowhere_outside(image: Path, tmp_path: Path) -> None:
    """Where the launcher mounts or makes something, a hostile image may have put a link."""
    hostile, outside = tmp_path / "hostile", tmp_path / "outside"
    shutil.copytree(image, hostile, symlinks=True)
    outside.mkdir()
    for name in ("tmp", "root", "etc2"):
        (hostile / name).symlink_to(outside)
    (hostile / "work").symlink_to("/etc")
    with sandboxes.make("namespace", image=str(hostile), workdir="/work/deep") as sandbox:
        sandbox.exec("echo escaped > /tmp/x; echo escaped > /etc2/x; echo escaped > x; mkdir -p /root/y")
        assert sandbox.exec("cat /etc/deep/x").output == "escaped\n"
    assert list(outside.iterdir()) == []
    assert not Path("/etc/deep").exists()


def test_binds_are_read_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("given\n")
    with sandboxes.make("namespace", binds=(Bind(tmp_path, "/data/here"),)) as sandbox:
        assert sandbox.exec("cat /data/here/file").output == "given\n"
        assert "Read-only" in sandbox.exec("echo x > /data/here/file").output
    assert (tmp_path / "file").read_text() == "given\n"


def test_names_that_overlays_treat_specially(tmp_path: Path) -> None:
    folder = tmp_path / r"a:b,c\d é"
    folder.mkdir()
    (folder / "file").write_text("there\n")
    with sandboxes.make("namespace", workspace=folder) as sandbox:
        assert sandbox.exec("cat file; echo new > file; cat file").output == "there\nnew\n"
        point = sandbox.snapshot()
        with sandbox.fork(point) as other:
            assert other.exec("cat file").output == "new\n"
    assert (folder / "file").read_text() == "there\n"


def test_a_chain_of_snapshots() -> None:
    with sandboxes.make("namespace") as sandbox:
        points = []
        for number in range(40):
            sandbox.exec(f"echo {number} > n; echo {number} > f{number}")
            points.append(sandbox.snapshot())
        with sandbox.fork(points[20]) as other:
            assert other.exec("cat n; ls | wc -l").output == "20\n22\n"
        assert sandbox.exec("cat n; ls | wc -l").output == "39\n41\n"


def test_through_bubblewrap() -> None:
    """Where only bwrap may make a user namespace, all else stays the same."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    code = (
        "from stepgym import sandboxes; from stepgym.sandboxes.namespaces import tiers\n"
        "tiers._FOUND[:] = [tiers.Tier.BUBBLEWRAP]\n"
        "with sandboxes.make('namespace') as s:\n"
        "    print(s.exec('id -u; grep CapBnd /proc/self/status; echo x > f').output)\n"
        "    with s.fork(s.snapshot()) as other: print(other.exec('cat f; sleep 9', timeout=0.5).timed_out)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "CapBnd:", "0" * 16, "True"]


def test_without_isolation_it_refuses_and_says_what_to_do() -> None:
    """A filter that forbids user namespaces stands for a machine that does."""
    code = (
        "from stepgym import sandboxes; from stepgym.errors import SandboxError\n"
        "with sandboxes.make('namespace') as outer: pass\n"
        "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
        "try: sandboxes.make('namespace').start()\n"
        "except SandboxError as error: print(error)\n"
    )
    if os.geteuid() != 0:
        pytest.skip("only root can make a user namespace with this setting of its own without a launcher")
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "allows no isolation" in done.stdout
    assert "sysctl -w user.max_user_namespaces" in done.stdout


def test_what_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="folder with a root file system, not 'debian:12'"):
        sandboxes.make("namespace", image="debian:12")
    with pytest.raises(ConfigError, match="not both"):
        sandboxes.make("namespace", network="host", allow=("pypi.org",))
    with pytest.raises(SandboxError, match=r"bind .*/nowhere /x: No such file"):
        sandboxes.make("namespace", binds=(Bind(tmp_path / "nowhere", "/x"),)).start()


def test_limits_are_set_on_the_whole(sandbox: Sandbox) -> None:
    if Capability.MEMORY_LIMIT not in sandbox.capabilities:
        pytest.skip("this user may make no control groups")
    spec = make_spec(memory=256 << 20, processes=40, cpus=0.5)
    with sandboxes.make("namespace", spec) as small:
        result = small.exec("python3 -c 'x = bytearray(1 << 30)'", timeout=20)
        assert result.exit_code == 137
        assert result.why == "out of memory: the limit is 256 MiB"
        assert "Resource temporarily unavailable" in small.exec("for i in $(seq 60); do sleep 1 & done; wait").output
        took = small.exec("time (timeout 1 bash -c 'while :; do :; done')", timeout=20).output
        used = float(took.split("user")[1].split()[0].removeprefix("0m").removesuffix("s"))
        assert used < 0.75
