"""Sdists from the package index.

pip builds the metadata of an sdist to check it, which runs code of the package; so it runs in a sandbox, which has this
machine's network, and of its files what pip's settings name.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

from stepgym import sandboxes
from stepgym.errors import ConfigError, MissingDependencyError, TaskError
from stepgym.sandboxes import Bind
from stepgym.store import replacing
from stepgym.tasks.swe_pypi import NAME, VERSION
from stepgym.tasks.swe_python import cache_folder

SECONDS = 600
LARGEST = 64 << 20
"""Bytes of an sdist."""
SETTINGS = frozenset({"index-url", "extra-index-url", "find-links", "cert", "trusted-host", "proxy", "timeout"})
"""pip's settings that say where packages come from."""
PIP = "/opt/pip"
SEEN = ("/usr/", "/etc/ssl/certs/")
"""What a sandbox sees of this machine anyhow."""
NETWORK_FILES = ("/etc/hosts", "/etc/resolv.conf")


def sdist(name: str, version: str) -> Path:
    """The sdist of a release, kept in the cache. Raises `TaskError`, with what pip says, where there is none."""
    if not NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise ConfigError(f"a release is a package's name and its version, such as toolz 0.12.1, not {name} {version}")
    place = cache_folder() / "sdists" / f"{re.sub(r'[-_.]+', '-', name).lower()}-{version}.tar.gz"
    if not place.is_file():
        content = _download(f"{name}=={version}")
        with replacing(place) as partial:
            partial.write_bytes(content)
    return place


def _download(release: str) -> bytes:
    settings = _settings()
    local = {path for value in settings.values() for path in _paths(value)} | set(NETWORK_FILES)
    unseen = (path for path in sorted(local) if not path.startswith(SEEN))
    binds = [Bind(Path(path), path) for path in unseen if os.path.exists(path)]
    env = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items()}
    env |= {key: os.environ[key] for key in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY") if key in os.environ}
    binds.append(Bind(_pip(), f"{PIP}/pip"))
    command = (
        f"PYTHONPATH={PIP} python3 -m pip --disable-pip-version-check download --quiet --no-deps "
        f"--no-binary :all: --dest /workspace/sdist '{release}'"
    )
    with sandboxes.make("namespace", network="host", binds=tuple(binds), env=env) as sandbox:
        done = sandbox.exec(command, timeout=SECONDS)
        found = sandbox.exec("ls -1 /workspace/sdist 2>/dev/null").output.split()
        if len(found) != 1:
            said = [line for line in done.output.splitlines() if line.startswith("ERROR")]
            raise TaskError(f"pip cannot download the sdist of {release}: {' '.join(said)[-500:] or done.why}")
        if not found[0].endswith((".tar.gz", ".tgz", ".tar.bz2")):
            raise TaskError(f"the sdist of {release} is {found[0]}; only tar archives are read")
        try:
            return sandbox.read(f"/workspace/sdist/{found[0]}", limit=LARGEST)
        except OSError as error:
            raise TaskError(
                f"the sdist of {release} cannot be read ({error.strerror}); at most {LARGEST >> 20} MiB are"
            ) from error


def _pip() -> Path:
    """The folder of the pip that is installed here."""
    found = importlib.util.find_spec("pip")
    if found is None or not found.origin:
        raise MissingDependencyError("pip is not installed; python -m ensurepip brings it")
    return Path(found.origin).parent


def _settings() -> dict[str, str]:
    """pip's settings here that say where packages come from, whichever file or variable they stand in."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    settings = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2].replace("_", "-")
        name = "timeout" if name == "default-timeout" else name
        if name in SETTINGS:
            settings[name] = " ".join(str(ast.literal_eval(value)).split())
    return settings


def _paths(value: str) -> list[str]:
    """The files and folders of this machine that a setting names."""
    words = value.split()
    return [unquote(urlparse(word).path) if word.startswith("file:") else word for word in words
            if word.startswith(("file:", "/"))]  # fmt: skip
