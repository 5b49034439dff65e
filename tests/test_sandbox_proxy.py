"""The allow-list proxy: real servers on loopback, real clients, and clients that mean harm."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from stepgym.errors import ConfigError, SandboxError
from stepgym.sandboxes import Capability, Sandbox, make
from stepgym.sandboxes.namespaces.supervisor import PROGRAM
from stepgym.sandboxes.owners import own_folder
from stepgym.sandboxes.proxying import proxy as proxy_module
from stepgym.sandboxes.proxying.allowed import AllowList, parse_authority
from stepgym.sandboxes.proxying.proxy import ENVIRONMENT, PORT, Proxy
from stepgym.sandboxes.proxying.request import RefusedError, parse_request


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps what it was asked, and answers with the path and the body."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.requestline, dict(self.headers), body))
        answer = f"{self.command} {self.path} {len(body)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """A web server in a thread."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server()
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def proxying(*allow: str) -> Iterator[tuple[Proxy, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(listener, allow)
    try:
        yield proxy, listener.getsockname()[1]
    finally:
        proxy.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def opener(port: int, context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    handler = urllib.request.ProxyHandler(dict.fromkeys(("http", "https"), f"http://127.0.0.1:{port}"))
    return urllib.request.build_opener(handler, urllib.request.HTTPSHandler(context=context))


def curl(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    line = [program, "-sS", "--noproxy", "", "-m", "10", "-x", f"http://127.0.0.1:{port}", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def converse(port: int, sent: bytes, seconds: float = 10.0) -> bytes:
    """All that comes back for these bytes, until the other side has no more to say."""
    with socket.create_connection(("127.0.0.1", port), seconds) as client:
        client.sendall(sent)
        answer = b""
        while data := client.recv(1 << 16):
            answer += data
        return answer


def test_http_to_a_host_of_the_list(server: Server) -> None:
    with proxying(f"127.0.0.1:{server.server_port}") as (proxy, port):
        url = f"http://127.0.0.1:{server.server_port}/a?b=c"
        with opener(port).open(url, timeout=10) as answer:
            assert answer.read() == b"GET /a?b=c 0"
        with opener(port).open(url, data=b"x" * 300_000, timeout=10) as answer:
            assert answer.read() == b"POST /a?b=c 300000"
        done = curl(port, url, "-d", "y" * 5)
        assert (done.returncode, done.stdout) == (0, "POST /a?b=c 5"), done.stderr
        assert not proxy.refused


def test_https_through_a_tunnel(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    making = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    line = [*making.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(line, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(context) as server, proxying(f"localhost:{server.server_port}") as (_, port):
        url = f"https://localhost:{server.server_port}/secret"
        with opener(port, trusting).open(url, data=b"z" * 70_000, timeout=10) as answer:
            assert answer.read() == b"POST /secret 70000"
        done = curl(port, "--cacert", str(certificate), url)
        assert (done.returncode, done.stdout) == (0, "GET /secret 0"), done.stderr


def test_every_other_host_is_refused_by_name(server: Server) -> None:
    with proxying("pypi.org", f"127.0.0.1:{server.server_port + 1}") as (proxy, port):
        address = f"127.0.0.1:{server.server_port}"
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener(port).open(f"http://{address}/", timeout=10)
        with refused.value as answer:
            assert answer.code == 403
            assert answer.read().decode() == f"{address} is not among the hosts this sandbox may reach\n"
        with pytest.raises(OSError, match=r"403 evil\.example:443 is not among the hosts this sandbox may reach"):
            opener(port).open("https://evil.example/", timeout=10)
        done = curl(port, "-v", "https://evil.example/")
        assert done.returncode == 56
        assert "evil.example:443 is not among the hosts" in done.stderr
        assert proxy.refused == {address: 1, "evil.example:443": 2}
    assert server.seen == []


def test_refused_hosts_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "REMEMBERED", 3)
    with proxying() as (proxy, port):
        for number in range(5):
            converse(port, f"CONNECT host{number}.example:443 HTTP/1.1\r\n\r\n".encode())
        converse(port, b"CONNECT host0.example:443 HTTP/1.1\r\n\r\n")
        assert proxy.refused == {
            "host0.example:443": 2,
            "host1.example:443": 1,
            "host2.example:443": 1,
            "*": 2,
        }


def test_a_name_that_leads_to_this_machine_is_refused() -> None:
    """As a stranger's name server could make it do: `localhost` stands for any name that resolves to loopback."""
    with proxying("localhost") as (proxy, port):
        answer = converse(port, b"GET http://localhost/ HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 localhost:80 leads to an address that is not public")
        assert proxy.refused == {"localhost:80": 1}


@pytest.mark.parametrize(
    ("entry", "asked", "covered"),
    [
        ("pypi.org", "pypi.org:443", True),
        ("pypi.org", "PyPI.org.:80", True),
        ("PyPI.org", "pypi.org:443", True),
        ("pypi.org", "pypi.org:22", False),
        ("pypi.org", "files.pypi.org:443", False),
        ("pypi.org", "evilpypi.org:443", False),
        ("pypi.org", "pypi.org.evil.example:443", False),
        ("*.debian.org", "deb.debian.org:80", True),
        ("*.debian.org", "a.b.debian.org:443", True),
        ("*.debian.org", "debian.org:443", False),
        ("*.debian.org", "evildebian.org:443", False),
        ("*.debian.org:8080", "deb.debian.org:8080", True),
        ("*.debian.org:8080", "deb.debian.org:443", False),
        ("mirror:8080", "mirror:8080", True),
        ("mirror:8080", "mirror:443", False),
        ("127.0.0.1", "127.0.0.1:80", True),
        ("127.0.0.1", "127.1:80", False),
        ("127.0.0.1", "2130706433:80", False),
        ("127.0.0.1", "0x7f.1:80", False),
        ("::1", "[::1]:80", True),
        ("[::1]:8080", "[0:0:0:0:0:0:0:1]:8080", True),
        ("127.0.0.1", "[::ffff:127.0.0.1]:80", False),
    ],
)
def test_what_an_entry_covers(entry: str, asked: str, covered: bool) -> None:
    destination = parse_authority(asked)
    assert destination is not None
    assert AllowList.parse([entry]).covers(destination) is covered


@pytest.mark.parametrize(
    "entry",
    [
        *("", "*", "*.", "a..b", "https://pypi.org", "pypi.org/simple", "user@pypi.org", "pypi.org:", "pypi.org:0"),
        *("pypi.org:65536", "*.1.2.3.4", "a*.org", "-a.org", "münchen.de", "[::1", "::1]", "fe80::1%eth0", "a b"),
        *("pypi.org\n", "a\0"),
    ],
)
def test_an_entry_that_is_no_host_is_an_error(entry: str) -> None:
    with pytest.raises(ConfigError, match="is no host to allow"):
        AllowList.parse([entry])


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.100.100.200", "192.0.0.192", "168.63.129.16", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "fe80::1", "fd00:ec2::254", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
        *("64:ff9b::a00:1", "2002:a00:1::", "ff02::1", "ff0e::1"),
    ],
)
def test_addresses_that_only_the_list_itself_can_admit(address: str) -> None:
    name, literal = parse_authority("host.example:443"), ip_address(address)
    assert name is not None
    assert not AllowList.parse(["host.example", "*.example"]).admits(name, literal)
    assert AllowList.parse(["host.example", address]).admits(name, literal)
    assert AllowList.parse(["host.example:443"]).admits(name, literal)
    assert not AllowList.parse(["*.example:443"]).admits(name, literal), "a wildcard names no service of ours"


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.0.223", "2606:4700::1", "64:ff9b::808:808"])
def test_public_addresses_are_admitted(address: str) -> None:
    name = parse_authority("host.example:443")
    assert name is not None
    assert AllowList.parse(["host.example"]).admits(name, ip_address(address))


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1",
        b"GET https://ok.example/ HTTP/1.1",
        b"GET ftp://ok.example/ HTTP/1.1",
        b"GET http:/// HTTP/1.1",
        b"GET http://evil.example@ok.example/ HTTP/1.1",
        b"GET http://ok.example:80@evil.example/ HTTP/1.1",
        b"GET http://ok.example%2eevil.example/ HTTP/1.1",
        b"GET http://ok.example\\evil.example/ HTTP/1.1",
        b"GET http://ok.example:0/ HTTP/1.1",
        b"GET http://ok.example:80:80/ HTTP/1.1",
        b"GET http://[::1%25lo]/ HTTP/1.1",
        b"GET http://[ok.example]/ HTTP/1.1",
        b"GET http://ok.example/#x HTTP/1.1",
        b"GET http://ok.example/ HTTP/2.0",
        b"GET http://ok.example/",
        b"GET  http://ok.example/ HTTP/1.1",
        b"GET http://ok.example/\tx HTTP/1.1",
        b"get http://ok.example/ HTTP/1.1",
        b"CONNECT ok.example HTTP/1.1",
        b"CONNECT http://ok.example:443 HTTP/1.1",
        b"CONNECT ok.example:https HTTP/1.1",
        b"CONNECT user@ok.example:443 HTTP/1.1",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length: +1",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length: 1, 1",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length: 1_0",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length: -1",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length:",
        b"POST http://ok.example/ HTTP/1.1\r\nTransfer-Encoding: chunked",
        b"POST http://ok.example/ HTTP/1.1\r\nContent-Length: 1\r\ntransfer-encoding: xchunked",
        b"POST http://ok.example/ HTTP/1.1\r\nTransfer-Encoding : chunked",
        b"GET http://ok.example/ HTTP/1.1\r\nA: b\r\n folded: c",
        b"GET http://ok.example/ HTTP/1.1\r\nA: b\nTransfer-Encoding: chunked",
        b"GET http://ok.example/ HTTP/1.1\r\nA: b\rC: d",
        b"GET http://ok.example/ HTTP/1.1\r\nA: b\0",
        b"GET http://ok.example/ HTTP/1.1\r\nno colon",
        b"\x16\x03\x01\x02\x00",
        b"",
    ],
)
def test_a_request_that_is_not_plain_is_refused(head: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_request(head + b"\r\n\r\n")
    assert refused.value.status in (400, 411)


def test_what_follows_a_request_reaches_no_server(server: Server) -> None:
    there = f"127.0.0.1:{server.server_port}".encode()
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n"
    with proxying(there.decode()) as (_, port):
        head = b"POST http://%b/x HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 5\r\nConnection: keep-alive\r\n"
        head += b"Proxy-Authorization: Basic eHg6eHg=\r\nUpgrade: h2c\r\nX-Kept: yes\r\n\r\n"
        answer = converse(port, head % there + b"abcde" + smuggled)
    assert answer.endswith(b"POST /x 5")
    [(line, headers, body)] = server.seen
    assert (line, body) == ("POST /x HTTP/1.1", b"abcde")
    assert headers == {"Host": there.decode(), "Connection": "close", "Content-Length": "5", "X-Kept": "yes"}


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port_of_nobody = taken.getsockname()[1]
    with proxying(f"127.0.0.1:{port_of_nobody}", "nosuch.invalid") as (proxy, port):
        answer = converse(port, f"CONNECT 127.0.0.1:{port_of_nobody} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 502 127.0.0.1:{port_of_nobody} refused the connection".encode())
        answer = converse(port, b"CONNECT nosuch.invalid:443 HTTP/1.1\r\n\r\n", 30)
        assert answer.startswith((b"HTTP/1.1 502 nosuch.invalid:443: ", b"HTTP/1.1 504 nosuch.invalid:443 did"))
        assert not proxy.refused


def test_a_client_that_never_comes_to_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(proxy_module, "LINGER_SECONDS", 0.2)
    with proxying("pypi.org") as (_, port):
        assert converse(port, b"GET http://pypi.org/ HTTP/1.1\r\nA: b\r\n").startswith(b"HTTP/1.1 408 ")
        assert converse(port, b"GET http://pypi.org/ HTTP/1.1\r\nA: " + b"b" * 100_000).startswith(b"HTTP/1.1 431 ")


def test_a_silent_connection_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "IDLE_SECONDS", 0.2)
    there = f"127.0.0.1:{server.server_port}"
    with proxying(there) as (_, port):
        started = time.monotonic()
        assert converse(port, f"CONNECT {there} HTTP/1.1\r\n\r\n".encode()) == (
            b"HTTP/1.1 200 Connection established\r\n\r\n"
        )
        assert 0.15 < time.monotonic() - started < 5


def test_connections_beyond_the_bound_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "CONNECTIONS", 2)
    there = f"127.0.0.1:{server.server_port}"
    with proxying(there) as (_, port):
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", port)) as third:
            third.sendall(f"GET http://{there}/ HTTP/1.1\r\n\r\n".encode())
            third.settimeout(0.3)
            with pytest.raises(TimeoutError):
                third.recv(1)
            held[0].close()
            third.settimeout(10)
            assert third.recv(15) == b"HTTP/1.1 200 OK"
        held[1].close()


def test_close_ends_everything(server: Server) -> None:
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    there = f"127.0.0.1:{server.server_port}"
    with proxying(there) as (proxy, port):
        clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(4)]
        clients[0].sendall(f"CONNECT {there} HTTP/1.1\r\n\r\n".encode())
        assert clients[0].recv(12) == b"HTTP/1.1 200"
        started = time.monotonic()
        proxy.close()
        proxy.close()
        assert time.monotonic() - started < 5
        for client in clients:
            client.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 10)
    deadline = time.monotonic() + 5  # the web server's own threads
    while (left := threading.active_count()) > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == threads
    assert len(os.listdir("/proc/self/fd")) == before


def test_close_does_not_wait_for_a_client_that_takes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as flood:
        there = f"127.0.0.1:{flood.getsockname()[1]}"
        with proxying(there) as (proxy, port), socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(f"CONNECT {there} HTTP/1.1\r\n\r\n".encode())
            connection, _ = flood.accept()
            with connection:
                connection.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    connection.sendall(b"x" * (64 << 20))
                started = time.monotonic()
                proxy.close()
                assert time.monotonic() - started < 1


def echo_back(listener: socket.socket) -> None:
    """Send back what comes while it comes, and end when it ends."""
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)


@pytest.fixture
def forwarder(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """The launcher's forwarder, from a free port to a socket in a folder: how it is in a container."""
    if not PROGRAM.exists():
        pytest.skip("the launcher is not built here")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = tmp_path / "proxy"
    started = subprocess.run(
        [PROGRAM, "forward", str(port), path], capture_output=True, text=True, timeout=10, check=False
    )
    assert (started.returncode, started.stderr) == (0, ""), "it returns when it listens"
    yield path, port
    [found] = subprocess.run(
        ["pgrep", "-f", f"forward {port} "], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(found), 9)


def test_the_forwarder_carries_both_ways_at_once(forwarder: tuple[Path, int]) -> None:
    """More than all buffers hold, in both directions at once, through forwarder, proxy and tunnel, to the last byte."""
    path, port = forwarder
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    content = os.urandom(1 << 20) * 32
    with socket.create_server(("127.0.0.1", 0)) as echo:
        thread = threading.Thread(target=echo_back, args=(echo,))
        thread.start()
        there = f"127.0.0.1:{echo.getsockname()[1]}"
        proxy = Proxy(listener, [there])
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(f"CONNECT {there} HTTP/1.1\r\n\r\n".encode())
            assert client.recv(39, socket.MSG_WAITALL) == b"HTTP/1.1 200 Connection established\r\n\r\n"
            sender = threading.Thread(target=lambda: (client.sendall(content), client.shutdown(socket.SHUT_WR)))
            sender.start()
            received, size = hashlib.sha256(), 0
            while data := client.recv(1 << 16):
                received.update(data)
                size += len(data)
            sender.join()
        thread.join()
        assert size == len(content)
        assert received.digest() == hashlib.sha256(content).digest()
        proxy.close()


def test_the_forwarder_outlives_hostile_clients(forwarder: tuple[Path, int]) -> None:
    path, port = forwarder
    with contextlib.suppress(ConnectionError):  # nobody at the socket: the connection is dropped, sooner or later
        assert converse(port, b"GET http://pypi.org/ HTTP/1.1\r\n\r\n") == b""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(100)
    proxy = Proxy(listener, [])
    clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(100)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # its end is a reset
        client.sendall(b"GET http")
        client.close()
    assert converse(port, b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403 evil.example:443 ")
    proxy.close()


def test_the_environment_names_the_proxy_in_both_spellings() -> None:
    for name in ("http_proxy", "https_proxy"):
        assert ENVIRONMENT[name] == ENVIRONMENT[name.upper()] == f"http://127.0.0.1:{PORT}"


def ask(sandbox: Sandbox, url: str) -> str:
    """What the proxy answers inside, in bash alone: an image may have nothing else."""
    request = f"exec 3<>/dev/tcp/127.0.0.1/{PORT} && printf 'GET {url} HTTP/1.1\\r\\n\\r\\n' >&3 && cat <&3"
    return sandbox.exec(request, timeout=20).output


def test_a_sandbox_reaches_the_hosts_of_its_list_and_no_other(backend: str, server: Server) -> None:
    there = f"127.0.0.1:{server.server_port}"
    with make(backend) as plain:
        able = Capability.ALLOW_LIST in plain.capabilities
    if not able:
        with pytest.raises(SandboxError), make(backend, allow=(there,)):
            pass
        return
    sandbox = make(backend, allow=(there,))
    with sandbox:
        assert ask(sandbox, f"http://{there}/a").endswith("GET /a 0")
        assert ask(sandbox, "http://evil.example/").startswith("HTTP/1.1 403 evil.example:80 is not among the hosts")
        url = f"http://127.0.0.1:{PORT}"
        assert sandbox.exec("echo $http_proxy $HTTPS_PROXY").output == f"{url} {url}\n"
        direct = sandbox.exec(f"exec 3<>/dev/tcp/127.0.0.1/{server.server_port}")
        assert not direct.ok, "only through the proxy"
        assert sandbox.exec("sleep 100", timeout=0.2).timed_out
        assert ask(sandbox, f"http://{there}/after-a-kill").endswith("GET /after-a-kill 0")
        sandbox.exec("kill -9 -1")
        assert ask(sandbox, f"http://{there}/after-another").endswith("GET /after-another 0")
        with sandbox.fork(sandbox.snapshot()) as other:
            assert ask(other, f"http://{there}/of-a-fork").endswith("GET /of-a-fork 0")
            assert ask(sandbox, f"http://{there}/beside-it").endswith("GET /beside-it 0")
        assert getattr(sandbox, "refused", None) == {"evil.example:80": 1}
        sandbox.reset()
        assert ask(sandbox, f"http://{there}/anew").endswith("GET /anew 0")
    assert not list(own_folder().glob("doorway-*"))
