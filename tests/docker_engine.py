"""A container engine for the tests: the one that is reachable, else one of their own, gone without a trace at the end.

Their own is Debian's ``docker.io`` in a temporary folder, without a bridge or firewall rules. Its one image is made by
``debootstrap`` from the mirror that apt uses, and kept for the next time in ``~/.cache/stepgym-tests``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes import make
from stepgym.sandboxes.contract import DEFAULT_IMAGE

if TYPE_CHECKING:
    from docker import APIClient

NEEDED = ("dockerd", "containerd", "runc", "debootstrap")
START_SECONDS = 60.0
LEFT_OUT = (
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/locale/*",
    "dev/*",
)


class Engine:
    """A dockerd of the tests' own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stepgym-dockerd-"))
        self.host = f"unix://{self.folder}/socket"
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it, and wait until it answers. Raises `RuntimeError` with its last words."""
        settings = {"data-root": "data", "exec-root": "run", "pidfile": "pid", "config-file": "none.json"}
        command = ["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", f"--host={self.host}"]
        command += [f"--{name}={self.folder / value}" for name, value in settings.items()]
        (self.folder / "none.json").write_text("{}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace").strip().splitlines()
                self.close()
                raise RuntimeError(f"dockerd does not run here: {said[-1] if said else 'it says nothing'}")
            time.sleep(0.05)

    def api(self, seconds: float = 60.0) -> APIClient:
        """Its API; to be closed."""
        from docker import APIClient

        return APIClient(self.host, version="1.41", timeout=seconds)

    def load(self, image: Path) -> None:
        """Import a root file system under the name that sandboxes use."""
        from docker.errors import DockerException

        name, tag = DEFAULT_IMAGE.split(":")
        try:
            with contextlib.closing(self.api()) as api:
                api.import_image_from_file(str(image), repository=name, tag=tag)
        except DockerException as error:
            raise RuntimeError(f"the image cannot be imported: {error}") from error

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(f"{self.folder}/socket")
                probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in probe.recv(1 << 10)
            except OSError:
                return False

    def kill(self) -> None:
        """End it and its containerd as a crash would: what runs in containers goes on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for pid in self._processes():
            if Path(f"/proc/{pid}/comm").read_text() == "containerd\n":
                os.kill(pid, signal.SIGKILL)
        (self.folder / "run/containerd/containerd.pid").unlink()  # the next would wait for it if nobody reaps it

    def close(self) -> None:
        """End it and all it started, unmount what it mounted, and remove its files."""
        if self._process is not None:
            if self._process.poll() is None:
                from docker.errors import DockerException

                with contextlib.suppress(DockerException, OSError), contextlib.closing(self.api()) as api:
                    for each in api.containers(all=True):
                        api.remove_container(each["Id"], force=True, v=True)
                self._process.terminate()
                try:
                    self._process.wait(20)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self._process = None
        self._sweep()

    def _sweep(self) -> None:
        deadline = time.monotonic() + 10
        while (left := self._processes()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((each for each in mounts if each.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=not self.folder.exists())

    def _processes(self) -> list[int]:
        """Those that name our folder, and their children: what runs in a container is a child of such a one."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if str(self.folder).encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
                        found.extend(_below(entry))
                except OSError:
                    continue
        return found


def _below(process: Path) -> Iterator[int]:
    for task in (process / "task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from _below(Path("/proc", child))


def base_image(*packages: str) -> Path:
    """The smallest Debian that debootstrap makes, with these packages, as a tar file."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    name = "-".join([release, platform.machine(), *packages])
    image = Path.home() / ".cache" / "stepgym-tests" / f"{name}.tar"
    if image.is_file():
        return image
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stepgym-debootstrap-") as folder:
        root, packed = Path(folder, "root"), Path(folder, "root.tar")
        more = [f"--include={','.join(packages)}"] if packages else []
        _run(["debootstrap", "--variant=minbase", *more, release, str(root), _mirror(release)])
        _run(["tar", "-C", str(root), *(f"--exclude=./{each}" for each in LEFT_OUT), "-cf", str(packed), "."])
        partial = image.with_suffix(f".{os.getpid()}")
        shutil.copyfile(packed, partial)
        partial.rename(image)
    return image


def _mirror(release: str) -> str:
    """Where apt finds the main part of this release."""
    form = ["--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    listed = subprocess.run(["apt-get", "indextargets", *form], check=True, capture_output=True, text=True)
    for uri, *what in map(str.split, listed.stdout.splitlines()):
        if what == [release, "main"]:
            return uri
    raise RuntimeError(f"apt knows no mirror of {release}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise RuntimeError(f"{command[0]} failed: {said[-1] if said else done.returncode}")


def own_engine() -> Engine:
    """One that runs and has the image. Skips the test where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("no container engine can be used, and one of our own needs root")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"no container engine can be used, and for one of our own {', '.join(missing)} is missing")
    engine = None
    try:
        image = base_image()
        engine = Engine()
        engine.start()
        engine.load(image)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        if engine is not None:
            engine.close()
        pytest.skip(f"no container engine can be used, nor can one be started: {error}")
    except BaseException:
        if engine is not None:
            engine.close()
        raise
    return engine


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[str]:
    """Where an engine with `DEFAULT_IMAGE` answers; ``DOCKER_HOST`` says so too while the tests run."""
    before = os.environ.get("DOCKER_HOST")
    if _usable():
        yield before or ""
        return
    engine = own_engine()
    try:
        os.environ["DOCKER_HOST"] = engine.host
        yield engine.host
    finally:
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before
        engine.close()


def _usable() -> bool:
    """An engine answers where the environment says, and has the image or can pull it."""
    try:
        make("docker", image=DEFAULT_IMAGE).start().close()
    except SandboxError:
        return False
    return True
