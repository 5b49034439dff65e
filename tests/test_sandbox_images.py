"""A budget of images: what is pulled, how often, and what goes to make room."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from stepgym.errors import ConfigError, SandboxError
from stepgym.sandboxes import BusyError, Spec
from stepgym.sandboxes.containers.engine import connect
from stepgym.sandboxes.containers.images import Images
from stepgym.sandboxes.contract import DEFAULT_IMAGE
from tests.image_registry import Registry


@pytest.fixture
def registry(docker_engine: str) -> Iterator[Registry]:
    with Registry() as registry:
        yield registry
    with closing(connect()) as engine:
        for name in there(registry):
            engine.remove_image(name, force=True)


def there(registry: Registry) -> set[str]:
    """The images of the registry that the engine has."""
    with closing(connect()) as engine:
        names = {name for image in engine.images() for name in image["RepoTags"] or ()}
    return {name for name in names if name.startswith(registry.name("").partition("/")[0])}


def use(images: Images, name: str) -> None:
    images.acquire(name)
    images.release(name)


def test_an_image_is_pulled_once_however_many_want_it(registry: Registry) -> None:
    name = registry.name("a")
    with Images() as images, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: use(images, name), range(16)))
        assert images.pulled == (name,)
    assert registry.pulls == {"a": 1}
    with Images() as others:  # it was there: not theirs to remove
        use(others, name)
        assert others.pulled == ()


def test_those_used_longest_ago_go_and_none_that_is_in_use(registry: Registry, tmp_path: Path) -> None:
    a, b, c, d = map(registry.name, "abcd")
    ledger = tmp_path / "images.txt"
    with Images(keep=2, ledger=ledger) as images:
        images.acquire(a)
        use(images, b)
        use(images, c)
        assert there(registry) == {a, c}
        images.release(a)
        use(images, a)
    with Images(keep=2, ledger=ledger) as images:  # another process goes on with the same budget
        use(images, d)
        assert there(registry) == {a, d}
        assert images.pulled == (a, d)
    assert registry.pulls == dict.fromkeys("abcd", 1)


def test_room_on_the_disk_is_made_or_the_sandbox_waits(registry: Registry) -> None:
    a, b = map(registry.name, "ab")
    with Images(free_bytes=0) as images:
        use(images, a)
    with Images(free_bytes=1 << 62) as images:
        with pytest.raises(BusyError, match=r"GiB free, less than the 4294967296\.0 GiB asked for"):
            use(images, b)
        assert there(registry) == {a}  # of another: it stays


def test_what_cannot_be_pulled_is_said_and_forgotten(registry: Registry, tmp_path: Path) -> None:
    with Images(ledger=tmp_path / "images.txt") as images:
        for name in map(registry.name, ("missing", "damaged")):
            with pytest.raises(SandboxError, match=f"the image {name} cannot be pulled: "):
                images.make(Spec(image=name)).start()
        with pytest.raises(SandboxError, match="cannot be pulled"):
            use(images, "127.0.0.1:9/nobody/listens:latest")
        assert images.pulled == ()
        use(images, registry.name("a"))
    assert (tmp_path / "images.txt").read_text() == f"{registry.name('a')}\n"
    with pytest.raises(ConfigError, match="images are kept from 1 on"):
        Images(keep=0)


def test_a_sandbox_holds_on_to_its_image(registry: Registry) -> None:
    with closing(connect()) as engine:
        engine.tag(DEFAULT_IMAGE, registry.name("base").removesuffix(":latest"), "latest")
    name = registry.name("base")
    with Images(keep=1) as images:
        images._pulled[name] = None
        with images.make(Spec(image=name)) as sandbox:
            assert sandbox.exec("echo hi").output == "hi\n"
            use(images, registry.name("a"))
            assert there(registry) == {name, registry.name("a")}
        use(images, registry.name("b"))
        assert there(registry) == {registry.name("b")}
