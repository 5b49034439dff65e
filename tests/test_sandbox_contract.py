"""What every sandbox promises of commands: their codes, input, output, time, surroundings and sessions."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepgym.errors import ConfigError
from stepgym.sandboxes import Sandbox, make

BEATS = "while :; do echo x >>{0}; sleep 0.02; done"
"""A command that never ends and shows that it lives."""
SPECIAL = "a'b\"c`d`$e$(f)\\g\\n%s*?[x]{1,2}~!#&;|<>\t\x01\x7f é🙂 \n end\n"


@pytest.fixture(scope="module")
def sandbox(backend: str) -> Iterator[Sandbox]:
    with make(backend) as made:
        yield made


def beats(sandbox: Sandbox, name: str) -> bool:
    """Something still writes to the file."""
    before = len(sandbox.read(name))
    time.sleep(0.1)
    return len(sandbox.read(name)) > before


# Exit codes


def test_every_exit_code_comes_through(sandbox: Sandbox) -> None:
    assert [sandbox.exec(f"exit {code}").exit_code for code in range(256)] == list(range(256))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("(exit 300)", 300 - 256),
        ("no-such-program", 127),
        ("./no-such-file", 127),
        ("/etc", 126),
        ("kill -9 $BASHPID", 137),
        ("kill -TERM $BASHPID", 143),
        ("kill -SEGV $BASHPID", 139),
        ("bash -c 'kill -9 $$'", 137),
        ("set -e; false; echo no", 1),
        ("false | true", 0),
        ("set -o pipefail; false | true", 1),
        ("exec bash -c 'exit 9'", 9),
    ],
)
def test_exit_codes_are_those_of_a_shell(sandbox: Sandbox, command: str, code: int) -> None:
    result = sandbox.exec(command)
    assert (result.exit_code, result.timed_out, result.ok, result.why) == (code, False, code == 0, "")


@pytest.mark.parametrize(
    "command",
    [
        "if",
        "echo 'x",
        'echo "x',
        "echo $(",
        "echo a) ; echo b (",
        "done",
        "}",
        "fi; }",
        "case x in",
        "f() {",
        "((",
        ";;",
        "&& x",
        "break",
        "continue",
        "return 3",
        "logout",
        "exec no-such-program",
        "cat <<END\nnever ended",
        "# nothing but a comment",
        "",
        " \n\t\n",
        "echo a \\",
    ],
)
def test_a_command_that_is_no_sentence_of_bash_harms_nothing(sandbox: Sandbox, command: str) -> None:
    for stateful in (False, True):
        result = sandbox.exec(command, timeout=10, stateful=stateful)
        assert (result.timed_out, result.exit_code == 137, "\x1e" in result.output) == (False, False, False)
        assert sandbox.exec("echo on", stateful=stateful).output == "on\n"


@pytest.mark.parametrize("command", ["echo a\0b", "\0", "echo \ud800", "\udc80", "echo " + "x" * (5 << 20)])
def test_a_command_that_cannot_be_given_to_a_shell_is_answered_all_the_same(sandbox: Sandbox, command: str) -> None:
    result = sandbox.exec(command, timeout=10)
    assert not result.timed_out
    assert sandbox.exec("echo on").output == "on\n"


# Input


def test_every_byte_goes_in(sandbox: Sandbox) -> None:
    every = bytes(range(256)) * 40
    result = sandbox.exec("cat >every", stdin=every)
    assert result.ok
    assert sandbox.read("every") == every


@pytest.mark.parametrize("text", ["é🙂漢字\n", SPECIAL, "no newline", "\n\n\n", "\0", "\x1e" + "0" * 32 + " 0\x1e", ""])
def test_text_goes_in_and_comes_out(sandbox: Sandbox, text: str) -> None:
    for stateful in (False, True):
        assert sandbox.exec("cat", stdin=text, stateful=stateful).output == text


def test_a_large_input(sandbox: Sandbox) -> None:
    data = os.urandom(1 << 20) * 8
    assert sandbox.exec("wc -c", stdin=data).output.strip() == str(8 << 20)


def test_input_that_is_not_read_is_not_taken_for_the_next_command(sandbox: Sandbox) -> None:
    data = b"10\necho gotcha\n" * 100_000
    assert sandbox.exec("true", stdin=data).ok
    assert sandbox.exec("head -c 5; exit 3", stdin=data).exit_code == 3
    assert sandbox.exec("echo on").output == "on\n"


@pytest.mark.parametrize("stateful", [False, True])
def test_without_input_a_command_reads_its_end(sandbox: Sandbox, stateful: bool) -> None:
    result = sandbox.exec("cat; read line; echo $? $line; head -c 1", timeout=10, stateful=stateful)
    assert (result.output, result.timed_out) == ("1\n", False)


def test_no_trace_of_the_input_is_left(sandbox: Sandbox) -> None:
    sandbox.exec("true", stdin="a secret")
    assert sandbox.exec("ls -A; ls -A /tmp | grep stdin").output.count("stdin") == 0


# Output


def test_standard_output_and_error_keep_their_order(sandbox: Sandbox) -> None:
    result = sandbox.exec("for i in {1..300}; do echo out $i; echo err $i >&2; /bin/echo prog $i >&2; done")
    assert result.output == "".join(f"out {i}\nerr {i}\nprog {i}\n" for i in range(1, 301))


def test_output_that_is_not_text(sandbox: Sandbox) -> None:
    sandbox.write("every", bytes(range(256)))
    result = sandbox.exec("cat every")
    assert result.output == bytes(range(256)).decode(errors="replace")
    assert (result.bytes_total, result.truncated) == (256, False)


@pytest.mark.parametrize("output", ["", "x", "no newline", "\n", "é", "a\0b", "\x1e", "\x1edeadbeef 0\x1e"])
def test_output_comes_as_it_was_written(sandbox: Sandbox, output: str) -> None:
    sandbox.write("said", output)
    for command in ("cat said", "cat <said >&2", "(cat said)"):
        result = sandbox.exec(command)
        assert (result.output, result.bytes_total) == (output, len(output.encode()))


def test_of_a_long_output_the_beginning_and_the_end_are_kept(sandbox: Sandbox) -> None:
    result = sandbox.exec("echo first; head -c 10000000 /dev/zero; echo; echo last")
    assert result.truncated
    assert result.exit_code == 0
    assert result.bytes_total == 6 + 10_000_000 + 6
    assert result.output.startswith("first\n\0")
    assert result.output.endswith("\0\nlast\n")
    kept = sandbox.spec.limits.output
    assert f"[… {result.bytes_total - kept} bytes left out …]" in result.output
    assert kept <= len(result.output) <= kept + 100


def test_ten_gigabytes_of_output(backend: str) -> None:
    with make(backend) as sandbox:
        sandbox.exec("head -c 10M /dev/zero")
        before = peak = resident()
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, resident())

        thread = threading.Thread(target=watch)
        thread.start()
        result = sandbox.exec("echo first; head -c 10G /dev/zero", timeout=2.5)
        done.set()
        thread.join()
        assert peak - before < 10 << 20
        assert result.truncated
        assert result.timed_out or result.bytes_total == 6 + (10 << 30)
        assert result.bytes_total > 100 << 20
        assert result.output.startswith("first\n\0")
        assert len(result.output) < sandbox.spec.limits.output + 100
        assert sandbox.exec("echo on").output == "on\n"


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("size", [99, 100, 101, 5_000])
def test_the_limit_of_one_command(sandbox: Sandbox, size: int) -> None:
    result = sandbox.exec(f"head -c {size} /dev/zero | tr '\\0' x", output_limit=100)
    assert (result.truncated, result.bytes_total) == (size > 100, size)
    assert result.output.count("x") == min(size, 100)


def test_a_character_cut_in_the_middle_breaks_nothing(sandbox: Sandbox) -> None:
    result = sandbox.exec("for i in {1..100}; do printf 🙂; done", output_limit=101)
    assert result.truncated
    assert (result.output[:12], result.output[-12:]) == ("🙂" * 12, "🙂" * 12)


def test_many_small_writes_are_all_there(sandbox: Sandbox) -> None:
    result = sandbox.exec("for i in {1..20000}; do echo $i; done")
    assert result.output.split() == [str(i) for i in range(1, 20_001)]


# Time


def test_a_time_out_keeps_what_was_said_and_the_sandbox_goes_on(sandbox: Sandbox) -> None:
    sandbox.write("kept", "files stay")
    result = sandbox.exec("echo early; echo error >&2; sleep 60; echo late", timeout=0.4)
    assert (result.output, result.exit_code, result.timed_out, result.ok) == ("early\nerror\n", 137, True, False)
    assert "0.4 s" in result.why
    assert 0.4 <= result.seconds < 5
    assert sandbox.exec("cat kept").output == "files stay"


@pytest.mark.parametrize(
    "start",
    [
        "{beats}",
        "trap '' TERM INT HUP; {beats}",
        "({beats}) & wait",
        "bash -c \"bash -c '{beats}' & wait\" & wait",
        "nohup setsid bash -c '{beats}' >/dev/null 2>&1 & wait",
        "setsid -f bash -c \"trap '' TERM INT HUP; {beats}\" </dev/null >/dev/null 2>&1; sleep 60",
        "(setsid bash -c '{beats}' </dev/null >/dev/null 2>&1 &); exec sleep 60",
        "exec </dev/null >/dev/null 2>&1; {beats}",
    ],
)
def test_a_time_out_kills_all_there_is(sandbox: Sandbox, start: str) -> None:
    sandbox.write("beats", "")
    result = sandbox.exec(start.format(beats=BEATS.format("beats")), timeout=0.3)
    assert result.timed_out
    assert sandbox.read("beats") != b""
    assert not beats(sandbox, "beats")
    assert sandbox.exec("echo on").output == "on\n"


@pytest.mark.parametrize(
    "command", ["yes", "yes >&2", "while :; do :; done", "cat >/dev/null; sleep 60", "exec >&- 2>&-; sleep 60"]
)
def test_time_passes_whatever_the_command_does(sandbox: Sandbox, command: str) -> None:
    result = sandbox.exec(command, timeout=0.4, stdin=b"x" * (1 << 20))
    assert result.timed_out
    assert result.seconds < 5
    assert sandbox.exec("echo on").output == "on\n"


def test_time_passes_while_nobody_reads_the_input(sandbox: Sandbox) -> None:
    assert sandbox.exec("sleep 60", timeout=0.4, stdin=b"x" * (8 << 20)).timed_out
    assert sandbox.exec("cat", stdin="on").output == "on"


def test_next_to_no_time(sandbox: Sandbox) -> None:
    for timeout in (0.0, -1.0, 1e-6, 0.001):
        assert sandbox.exec("sleep 60", timeout=timeout).timed_out
    assert sandbox.exec("echo on").output == "on\n"


def test_many_time_outs_in_a_row(sandbox: Sandbox) -> None:
    for i in range(5):
        assert sandbox.exec(f"echo {i}; sleep 60", timeout=0.15).output in (f"{i}\n", "")
        assert sandbox.exec(f"echo {i}").output == f"{i}\n"


def test_seconds_are_those_of_the_command(sandbox: Sandbox) -> None:
    assert 0.3 <= sandbox.exec("sleep 0.3").seconds < 3


def test_a_background_process_lives_on_and_its_later_output_is_thrown_away(sandbox: Sandbox) -> None:
    result = sandbox.exec("(sleep 0.1; echo late; echo late >&2; touch done) & echo early")
    assert (result.output, result.seconds < 3) == ("early\n", True)
    time.sleep(0.4)
    assert sandbox.exec("ls done").output == "done\n"


def test_a_background_process_that_keeps_talking(backend: str) -> None:
    with make(backend) as sandbox:
        sandbox.exec("yes noise & sleep 0.1")
        for _ in range(3):
            result = sandbox.exec("echo mine; exit 7", timeout=20)
            assert (result.exit_code, result.timed_out) == (7, False)
        sandbox.write("kept", "x")
        assert sandbox.exec("sleep 60", timeout=0.2).timed_out
        assert sandbox.exec("echo on").output == "on\n"


# Surroundings


def test_commands_run_in_the_working_directory(sandbox: Sandbox) -> None:
    assert sandbox.exec("pwd").output == sandbox.spec.workdir + "\n"
    sandbox.exec("mkdir -p 'some where/é'")
    assert sandbox.exec("pwd", cwd="some where/é").output == f"{sandbox.spec.workdir}/some where/é\n"
    assert sandbox.exec("pwd", cwd="/usr").output == "/usr\n"
    assert sandbox.exec("pwd", cwd="..").output == os.path.dirname(sandbox.spec.workdir) + "\n"


@pytest.mark.parametrize("place", ["missing", "/dev/null", "it's; echo gotcha", "a\0b", "-P", "x" * 5000, "\ud800"])
def test_a_directory_there_is_not_is_told_and_nothing_runs(sandbox: Sandbox, place: str) -> None:
    for stateful in (False, True):
        result = sandbox.exec("echo ran", cwd=place, timeout=10, stateful=stateful)
        assert (result.ok, result.timed_out, result.output != "") == (False, False, True)
        assert "ran\n" not in result.output
        assert not re.search(r"^gotcha", result.output, re.M)
    assert sandbox.exec("echo on", stateful=True).output == "on\n"


def test_the_environment_of_one_command(sandbox: Sandbox) -> None:
    value = SPECIAL.strip("\n")
    assert sandbox.exec("printenv GIVEN", env={"GIVEN": value}).output == value + "\n"
    assert sandbox.exec('printf %s "$GIVEN$EMPTY"', env={"GIVEN": SPECIAL, "EMPTY": ""}).output == SPECIAL
    assert sandbox.exec("echo ${GIVEN-unset}").output == "unset\n"


@pytest.mark.parametrize("env", [{"a b; echo gotcha; x": "1"}, {"1a": "x"}, {"": "x"}, {"A": "a\0b"}])
def test_what_cannot_be_an_environment_is_refused(sandbox: Sandbox, env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="environment variable"):
        sandbox.exec("true", env=env)


def test_the_environment_of_the_specification(backend: str) -> None:
    with make(backend, env={"GIVEN": SPECIAL, "OTHER": "1"}) as sandbox:
        assert sandbox.exec('printf %s "$GIVEN"').output == SPECIAL
        assert sandbox.exec("echo $OTHER", env={"OTHER": "2"}).output == "2\n"
        assert sandbox.exec("echo $OTHER").output == "1\n"


def test_nothing_of_our_environment_is_seen(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hunter2")
    with make(backend) as sandbox:
        assert "hunter2" not in sandbox.exec("env; export -p; set").output
        assert sandbox.exec("printenv PATH HOME LANG").ok


def test_text_is_utf8(sandbox: Sandbox) -> None:
    assert sandbox.exec("printf é🙂 | wc -m; x=é🙂; echo ${#x}").output.split() == ["2", "2"]


@pytest.mark.parametrize(
    ("change", "probe"),
    [
        ("cd /usr", "pwd"),
        ("A=1; export B=2; PATH=/nowhere; IFS=x; HOME=/nowhere", 'echo $A $B $PATH $HOME; printf %q "$IFS"'),
        ("f() { echo f; }; echo() { :; }; printf() { :; }; cd() { :; }", "type -t f; type -t cd; echo on; ls"),
        ("set -efuvx; shopt -s dotglob; set -o pipefail", "echo $- $SHELLOPTS $BASHOPTS"),
        ("trap 'echo trapped' EXIT DEBUG ERR; trap '' TERM", "trap"),
        ("umask 077", "umask"),
        ("ulimit -n 40; ulimit -t 1000", "ulimit -n; ulimit -t"),
        ("exec >/dev/null 2>&1 5>opened", "ls /proc/$BASHPID/fd | wc -l; echo on"),
        ("exec 0<&- 1>&- 2>&- 9>&-", "echo on"),
        ("set -- a b c", "echo $#"),
        ("readonly __n __r __s A; __n=3", "echo ${__n-none}${__r-none}${__s-none}${A-none}"),
        ("unset PATH HOME BASH_VERSION; enable -n echo", "printenv PATH; type -t echo"),
        ("alias ls=false; hash -p /bin/false ls", "ls -d /"),
        ("exit 5", "echo $?"),
        ("PROMPT_COMMAND='echo x'; BASH_ENV=x; ENV=x", "echo ${PROMPT_COMMAND-}${BASH_ENV-}${ENV-}"),
    ],
)
def test_a_command_leaves_nothing_to_the_next(sandbox: Sandbox, change: str, probe: str) -> None:
    before = sandbox.exec(probe)
    sandbox.exec(change, timeout=10)
    after = sandbox.exec(probe)
    assert (after.output, after.exit_code) == (before.output, before.exit_code)


def test_a_program_that_was_installed_is_found_and_one_that_was_removed_is_not(backend: str) -> None:
    with make(backend, env={"PATH": "first:second:/usr/bin:/bin"}) as sandbox:
        install = "mkdir -p {0}; printf '#!/bin/sh\\necho {0}' >{0}/tool; chmod +x {0}/tool"
        sandbox.exec(install.format("second"))
        assert sandbox.exec("tool").output == "second\n"
        sandbox.exec(install.format("first"))
        assert sandbox.exec("tool").output == "first\n"
        sandbox.exec("rm first/tool")
        assert sandbox.exec("tool").output == "second\n"


# Sessions


def test_a_session_keeps_what_its_commands_change(sandbox: Sandbox) -> None:
    def run(command: str) -> str:
        return sandbox.exec(command, stateful=True).output

    run("mkdir -p deep; cd deep; A='x y'; export B=2; f() { echo \"f $1\"; }; umask 027; set -f; exec 7>kept")
    assert run('pwd; echo "$A"; printenv B; f 3; umask; echo *; echo >&7; ls') == (
        f"{sandbox.spec.workdir}/deep\nx y\n2\nf 3\n0027\n*\nkept\n"
    )
    assert sandbox.exec("pwd; echo $A$B; type -t f; umask").output.splitlines()[:2] == [sandbox.spec.workdir, ""]
    assert run("echo $A") == "x y\n"
    assert run("false\n") == ""
    assert sandbox.exec("(exit 4)", stateful=True).exit_code == 4
    assert sandbox.exec("pwd", stateful=True, cwd="/usr", env={"C": "3"}).output == "/usr\n"
    assert run("pwd; echo $C") == "/usr\n3\n"


def test_exit_ends_a_session_and_the_next_one_begins_anew(sandbox: Sandbox) -> None:
    for code in [0, 3, 255] * 10:
        assert sandbox.exec("A=1; cd /", stateful=True).ok
        result = sandbox.exec(f"echo bye; exit {code}", stateful=True)
        assert (result.output, result.exit_code, result.timed_out) == ("bye\n", code, False)
        assert "session ended" in result.why
        assert sandbox.exec("pwd; echo $A", stateful=True).output == f"{sandbox.spec.workdir}\n\n"


@pytest.mark.parametrize(
    "spoilt",
    [
        "exec >&-",
        "exec >spoilt",
        "exec <&-",
        "exec </dev/null",
        "exec <spoilt-input",
        "set -n",
        "readonly __n",
        "unset __n __r __s; __s=x",
        "read() { :; }",
        "printf() { :; }",
        "eval() { :; }",
        "IFS=0123456789",
        "shopt -s extdebug; trap 'false' DEBUG",
        "exec sleep 60",
        "kill -STOP $$",
        "kill -9 $$",
        "LC_ALL=xx; PATH=; set -u; set -e",
    ],
)
def test_a_session_that_spoils_its_own_shell_spoils_nothing_else(sandbox: Sandbox, spoilt: str) -> None:
    sandbox.write("spoilt-input", "echo gotcha\n" * 50)
    sandbox.exec(spoilt, stateful=True, timeout=0.15)
    assert sandbox.exec("echo on").output == "on\n"
    sandbox.exec("echo on", stateful=True, timeout=0.15)  # may find it spoilt, and ends it then
    assert sandbox.exec("echo on").output == "on\n"
    sandbox.exec("sleep 60", timeout=0.05)
    assert sandbox.exec("echo é | cat", stateful=True, stdin="x").output == "é\n"


def test_a_time_out_ends_the_session_too(sandbox: Sandbox) -> None:
    sandbox.exec("A=1", stateful=True)
    assert sandbox.exec("sleep 60", timeout=0.2).timed_out
    assert sandbox.exec("echo ${A-unset}", stateful=True).output == "unset\n"
    result = sandbox.exec("A=1; echo said; sleep 60", timeout=0.3, stateful=True)
    assert (result.output, result.timed_out) == ("said\n", True)
    assert sandbox.exec("echo ${A-unset}", stateful=True).output == "unset\n"


# Several at once


def test_threads_wait_for_each_other(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: sandbox.exec(f"echo {i}; sleep 0.01; echo {i}"), range(40)))
    assert [result.output for result in results] == [f"{i}\n{i}\n" for i in range(40)]


def test_threads_with_a_time_out_among_them(sandbox: Sandbox) -> None:
    def run(i: int) -> str:
        return sandbox.exec(f"echo {i}; [ {i} != 3 ] || sleep 60", timeout=5 if i != 3 else 0.3).output

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(8))) == [f"{i}\n" for i in range(8)]


def test_an_interrupt_in_the_middle_of_a_command(sandbox: Sandbox) -> None:
    import _thread

    sandbox.write("beats", "")
    timer = threading.Timer(0.4, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            sandbox.exec(f"(setsid bash -c '{BEATS.format('beats')}' &); sleep 60", timeout=60)
    finally:
        timer.cancel()
        timer.join()
    assert sandbox.read("beats") != b""
    assert not beats(sandbox, "beats")
    assert sandbox.exec("echo on").output == "on\n"
