"""What every sandbox promises of files: reading, writing, editing, whatever their names, sizes and permissions."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes import Capability, EditError, Sandbox, make

NAMES = [
    "a b",
    "it's",
    'say "hi"',
    "new\nline",
    "ends\n",
    "tab\t",
    "\x01\x7f",
    "ünïcødé 🙂",
    "-rf",
    "--help",
    "-",
    "$HOME",
    "`id`",
    "$(id)",
    "*",
    "?",
    "[a]",
    "{a,b}",
    "~",
    "!",
    "#x",
    "a;b",
    "a&b|c>d<e",
    "back\\slash",
    " lead",
    "trail ",
    "...",
    "\udcff\udc80",
    "n" * 255,
]


@pytest.fixture(scope="module")
def sandbox(backend: str) -> Iterator[Sandbox]:
    with make(backend) as made:
        yield made


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\n", b"a\r\nb\n\n\n", bytes(range(256)) * 300, b"\x1e" * 99, b"\0" * 70_000]
)
def test_bytes_come_back_as_they_were(sandbox: Sandbox, content: bytes) -> None:
    sandbox.write("bytes", content)
    assert sandbox.read("bytes") == content
    assert sandbox.exec("wc -c <bytes").output.strip() == str(len(content))


def test_text_is_written_as_utf8(sandbox: Sandbox) -> None:
    sandbox.write("text", "é🙂\r\n\udcff")
    assert sandbox.read("text") == "é🙂\r\n".encode() + b"\xff"
    with pytest.raises(OSError, match="text2") as raised:
        sandbox.write("text2", "half a character \ud800")
    assert raised.value.errno == errno.EILSEQ


def test_files_of_commands_are_read_and_commands_read_what_was_written(sandbox: Sandbox) -> None:
    sandbox.exec("printf 'by\\0command' >by-command")
    assert sandbox.read("by-command") == b"by\0command"
    sandbox.write("script", "#!/bin/sh\necho ran $1\n")
    assert sandbox.exec("sh script é").output == "ran é\n"


def test_a_large_file(sandbox: Sandbox) -> None:
    data = os.urandom(1 << 20) * 20
    sandbox.write("large", data)
    assert sandbox.read("large") == data
    sandbox.exec("rm large")


def test_a_file_beyond_the_limit(sandbox: Sandbox) -> None:
    sandbox.write("thousand", b"x" * 1000)
    assert len(sandbox.read("thousand", limit=1000)) == 1000
    for limit in (0, 1, 999):
        with pytest.raises(OSError, match="999 bytes" if limit == 999 else "bytes") as raised:
            sandbox.read("thousand", limit=limit)
        assert raised.value.errno == errno.EFBIG
    sandbox.exec("truncate -s 1G sparse")
    with pytest.raises(OSError, match="bytes"):
        sandbox.read("sparse", limit=1 << 20)
    sandbox.exec("rm sparse")


@pytest.mark.parametrize("name", NAMES)
def test_any_name(sandbox: Sandbox, name: str) -> None:
    sandbox.write(f"names/{name}", name.encode(errors="surrogateescape"))
    assert sandbox.read(f"names/{name}") == name.encode(errors="surrogateescape")
    assert sandbox.read(f"{sandbox.spec.workdir}/names/{name}") == name.encode(errors="surrogateescape")
    assert sandbox.exec('test -s "./$NAME"', env={"NAME": name}, cwd="names").ok
    sandbox.write(f"folders/{name}/file", "below")
    assert sandbox.read(f"folders/{name}/file") == b"below"


def test_paths_are_relative_to_the_working_directory(sandbox: Sandbox) -> None:
    sandbox.exec("cd /; mkdir -p " + sandbox.spec.workdir + "/place", stateful=True)
    sandbox.exec("cd place", stateful=True)
    sandbox.write("place/../here", "x")
    assert sandbox.read(f"{sandbox.spec.workdir}/here") == sandbox.read("./place//../here") == b"x"


def test_writing_makes_folders(sandbox: Sandbox) -> None:
    sandbox.write("one/two/three/file", "x")
    assert sandbox.read("one/two/three/file") == b"x"


def test_writing_replaces_the_content_and_keeps_the_rest(sandbox: Sandbox) -> None:
    sandbox.exec("echo long content >script; chmod 750 script; ln -s script link; ln script hard")
    sandbox.write("link", "new")
    assert sandbox.exec("stat -c %a script; stat -c %h hard; cat hard; readlink link").output == "750\n2\nnewscript\n"
    sandbox.edit("script", "new", "newer")
    assert sandbox.exec("stat -c %a script; cat hard").output == "750\nnewer"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("missing", FileNotFoundError),
        ("missing/file", FileNotFoundError),
        ("", IsADirectoryError),
        (".", IsADirectoryError),
        ("/", IsADirectoryError),
        ("folder", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("file/below", NotADirectoryError),
        ("dangling", FileNotFoundError),
        ("loop", OSError),
        ("x" * 256, OSError),
        ("x/" * 2040, OSError),
        ("x" * 10_000, OSError),
        ("nul\0", OSError),
        ("\ud800", OSError),
        ("pipe", OSError),
        ("/dev/zero", OSError),
        ("/dev/tty", OSError),
        ("socket", OSError),
    ],
)
def test_what_cannot_be_read(sandbox: Sandbox, path: str, error: type[OSError]) -> None:
    sandbox.exec("mkdir -p folder; touch file; ln -sfn nowhere dangling; ln -sfn loop loop; [ -p pipe ] || mkfifo pipe")
    sandbox.exec(
        """[ -S socket ] || perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "socket", Listen => 1)'"""
    )
    with pytest.raises(error) as raised:
        sandbox.read(path)
    assert not isinstance(raised.value, TimeoutError)
    assert raised.value.errno
    assert raised.value.filename == path or raised.value.errno == errno.EFBIG


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", IsADirectoryError),
        (".", IsADirectoryError),
        ("folder", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("file/below", NotADirectoryError),
        ("file/below/that", NotADirectoryError),
        ("loop", OSError),
        ("x" * 256, OSError),
        ("x" * 256 + "/y", OSError),
        ("nul\0", OSError),
        ("\ud800", OSError),
        ("pipe", OSError),
        ("/dev/full", OSError),
        ("/proc/version", OSError),
        ("/proc/missing/file", OSError),
    ],
)
def test_what_cannot_be_written(sandbox: Sandbox, path: str, error: type[OSError]) -> None:
    sandbox.exec("mkdir -p folder; echo old >file; ln -sfn loop loop; [ -p pipe ] || mkfifo pipe")
    with pytest.raises(error) as raised:
        sandbox.write(path, b"x" * 100_000)
    assert raised.value.errno
    assert sandbox.read("file") == b"old\n"
    assert sandbox.exec("echo on").output == "on\n"


def test_links_are_followed_inside(sandbox: Sandbox) -> None:
    sandbox.exec(
        "mkdir -p real; echo x >real/file; ln -sfn real linked; ln -sfn linked/file chain; ln -sfn real/made to-make"
    )
    assert sandbox.read("linked/file") == sandbox.read("chain") == b"x\n"
    sandbox.write("to-make", "made")
    assert sandbox.read("real/made") == b"made"


def test_the_permissions_are_those_of_a_command(sandbox: Sandbox) -> None:
    sandbox.exec("echo secret >closed; chmod 000 closed; mkdir -p shut/in; echo x >shut/in/file; chmod 000 shut")
    sandbox.exec("echo old >fixed; chmod 444 fixed; mkdir sealed; chmod 555 sealed")
    able = sandbox.exec("cat closed").ok
    assert not (able and Capability.ISOLATION in sandbox.capabilities), "root without capabilities"
    for path in ("closed", "shut/in/file"):
        if able:
            sandbox.read(path)
        else:
            with pytest.raises(PermissionError):
                sandbox.read(path)
    for path in ("closed", "fixed", "sealed/file", "shut/new", "shut/in/new"):
        if able:
            sandbox.write(path, "x")
        else:
            with pytest.raises(PermissionError):
                sandbox.write(path, "x")
    sandbox.exec("chmod 700 shut sealed; rm -rf shut sealed closed fixed")


def test_files_of_the_system_cannot_be_changed_unless_they_are_the_sandbox_own(sandbox: Sandbox) -> None:
    if Capability.ISOLATION not in sandbox.capabilities:
        pytest.skip("its files are the machine's own")
    with open("/bin/ls", "rb") as file:
        before = file.read()
    sandbox.exec("echo x >/bin/ls; rm -rf /bin/ls /usr/bin/cat; echo x >/etc/passwd")
    with contextlib.suppress(OSError):
        sandbox.write("/usr/bin/env", "x")
    with open("/bin/ls", "rb") as file:
        assert file.read() == before
    sandbox.reset()
    assert sandbox.exec("/bin/ls -d /; /usr/bin/env true").output == "/\n"


# Editing


def test_an_edit_replaces_the_one_place(sandbox: Sandbox) -> None:
    text = "first line\n\tsecond $line 'quoted' \\1 é\r\nthird\xff (x) [y] .*\n"
    sandbox.write("edited", text.encode("latin-1"))
    sandbox.edit("edited", "second $line 'quoted' \\1 ", "&\\1 $0\n🙂")
    assert sandbox.read("edited") == b"first line\n\t&\\1 $0\n\xf0\x9f\x99\x82\xe9\r\nthird\xff (x) [y] .*\n"
    sandbox.edit("edited", "(x) [y] .*\n", "")
    assert sandbox.read("edited").endswith(b"third\xff ")


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("nope", "not there"),
        ("twice", "2 times"),
        ("", "empty"),
        ("TWICE", "not there"),
        (".*", "not there"),
        ("\ud800", "not there"),
    ],
)
def test_an_edit_that_names_no_place_or_several(sandbox: Sandbox, old: str, said: str) -> None:
    sandbox.write("edited", "twice\ntwice\n")
    with pytest.raises(EditError, match=said) as raised:
        sandbox.edit("edited", old, "new")
    assert isinstance(raised.value, SandboxError)
    assert "edited" in str(raised.value)
    assert sandbox.read("edited") == b"twice\ntwice\n"


def test_an_edit_of_no_file(sandbox: Sandbox) -> None:
    with pytest.raises(FileNotFoundError):
        sandbox.edit("missing", "a", "b")
    with pytest.raises(IsADirectoryError):
        sandbox.edit(".", "a", "b")
    assert not sandbox.exec("ls missing").ok


def test_bytes_of_the_edited_text_may_overlap(sandbox: Sandbox) -> None:
    sandbox.write("edited", "aaa")
    with pytest.raises(EditError):
        sandbox.edit("edited", "aa", "b")
    assert sandbox.read("edited") == b"aaa"
