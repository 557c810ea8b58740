"""The commands for scripts and pipes: their output and their exit codes."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from blazechat.terminal import sanitize
from tests.clients.wire import tcp_proxy
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, eventually


@dataclass
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


async def blazechat(folder: Path, *arguments: str, stdin: str | bytes = "") -> Result:
    """Run the command to its end, with `stdin` as its standard input."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    async with started(folder, *arguments) as process:
        out, err = await asyncio.wait_for(process.communicate(given), 60)
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Result(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def started(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the command. If it still runs at the end of the block, it is killed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "blazechat", *arguments),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=os.environ | {"BLAZECHAT_CLIENT_DIR": str(folder)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def log_in(folder: Path, live: Live, username: str) -> None:
    done = await blazechat(folder, "login", live.url, "--username", username, stdin=f"{PASSWORD}\r\n")
    assert (done.code, done.err) == (0, ""), done


async def test_register_send_and_read(new_server: NewServer, tmp_path: Path) -> None:
    """Create an account, send a message by argument and by pipe to a chat by name, and read both."""
    live = await new_server()
    bob = await live.person("bob")
    done = await blazechat(
        tmp_path,
        *("login", live.url, "--username", "alice", "--register", "--email", "alice@example.com"),
        stdin=f"{PASSWORD}\n",
    )
    assert (done.code, done.out) == (0, f"Logged in as alice@{live.url[7:]}.\n")
    sent = await blazechat(tmp_path, "send", f"@{bob.username}", "Hello", "Bob!")
    assert (sent.code, sent.out) == (0, "1\n")
    piped = await blazechat(tmp_path, "send", bob.username, "--json", stdin="one\ntwo\n\n")
    assert json.loads(piped.out)["content"] == "one\ntwo"
    listed = await blazechat(tmp_path, "chats")
    assert listed.out == f"1\t0\t{bob.username}\n"
    printed = await blazechat(tmp_path, "tail", "1", "-n", "5")
    lines = printed.out.splitlines()
    assert [line.partition(" alice: ")[2] for line in lines[:2]] == ["Hello Bob!", "one"]
    assert lines[2] == "    two"
    printed = await blazechat(tmp_path, "tail", bob.username, "-n", "1", "--json")
    assert json.loads(printed.out)["id"] == 2
    assert (await blazechat(tmp_path, "accounts")).out == f"alice@{live.url[7:]}\n"
    assert (await blazechat(tmp_path, "logout")).code == 0
    assert (await blazechat(tmp_path, "chats")).code == 3


async def test_exit_codes_and_sentences(live: Live, tmp_path: Path) -> None:
    """Each kind of error has its exit code, and a sentence on standard error that says what to do."""
    alice = await live.person("alice")
    logged_out = await blazechat(tmp_path, "send", "1", "Hello")
    assert (logged_out.code, logged_out.out) == (3, "")
    assert "Log in with: blazechat login URL" in logged_out.err
    wrong = await blazechat(tmp_path, "login", live.url, "--username", alice.username, stdin="wrong\n")
    assert (wrong.code, "user name or password is wrong" in wrong.err) == (3, True)
    nowhere = await blazechat(tmp_path, "login", "127.0.0.1:1", "--username", "alice", stdin="x\n")
    assert (nowhere.code, "cannot be reached" in nowhere.err) == (4, True)
    usage = await blazechat(tmp_path, "login", "ftp://x", "--username", "alice", stdin="x\n")
    assert (usage.code, "http://" in usage.err) == (2, True)
    assert (await blazechat(tmp_path, "login", live.url, stdin="x\n")).code == 2
    assert (await blazechat(tmp_path, "login", live.url, "--username", "alice")).code == 2
    await log_in(tmp_path, live, alice.username)
    for chat in ("999", "@nobody", "no such chat"):
        done = await blazechat(tmp_path, "send", chat, "Hello")
        assert done.code == 5, done
        assert done.err.startswith("blazechat: "), done
    one, other = await alice.group(name="Twins"), await alice.group(name="twins")
    twins = await blazechat(tmp_path, "tail", "Twins")
    assert (twins.code, f"{other}, {one}" in twins.err) == (5, True)
    blank = await blazechat(tmp_path, "send", str(one), stdin="\n")
    assert (blank.code, "cannot be blank" in blank.err) == (1, True)
    long = await blazechat(tmp_path, "send", str(one), stdin="x" * 10_001)
    assert (long.code, "10,000 characters" in long.err) == (1, True)
    binary = await blazechat(tmp_path, "send", str(one), stdin=b"\xff\xfe\x00")
    assert binary.code == 2, binary
    await alice.post("/api/auth/logout-all")
    ended = await blazechat(tmp_path, "chats")
    assert (ended.code, "log in again" in ended.err) == (3, True)
    terminal = await blazechat(tmp_path, "chat")
    assert (terminal.code, "needs a terminal" in terminal.err) == (2, True)


async def test_tail_follows_through_lost_connections(new_server: NewServer, tmp_path: Path) -> None:
    """It prints every message once and in order, while the connection is cut several times."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "before")
    async with tcp_proxy(Random(7)) as network:
        network.forward_to(live.url)
        through = Live(network.url, live.app, live.server)
        await log_in(tmp_path, through, bob.username)
        async with started(tmp_path, "tail", str(chat_id), "--follow", "--json") as process:
            assert process.stdout is not None
            first = await asyncio.wait_for(process.stdout.readline(), 30)
            assert json.loads(first)["content"] == "before"
            for number in range(60):
                await alice.say(chat_id, str(number))
                if number % 20 == 10:
                    network.cut()
            seen = [json.loads(await asyncio.wait_for(process.stdout.readline(), 30)) for _ in range(60)]
            assert [message["content"] for message in seen] == [str(number) for number in range(60)]
            await alice.delete(f"/api/chats/{chat_id}")
            _, err = await asyncio.wait_for(process.communicate(), 30)
            sentence = "blazechat: the chat was deleted, or you are no longer a member of it.\n"
            assert (process.returncode, err.decode()) == (5, sentence)


async def test_control_characters_of_others_are_not_printed(live: Live, tmp_path: Path) -> None:
    """Names and messages are printed with visible replacements."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "\x1b]0;title\x07\x9b31m red \u202egnp.exe")
    await log_in(tmp_path, live, alice.username)
    printed = await blazechat(tmp_path, "tail", "Team")
    assert "␛]0;title␇‹9B›31m red ‹RLO›gnp.exe" in printed.out
    assert all(character.isprintable() or character == "\n" for character in printed.out)


async def test_closed_pipe_is_no_error(live: Live, tmp_path: Path) -> None:
    """As with `head -1`. Ctrl-C ends the command with exit code 130 and without output."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    for number in range(3):
        await alice.say(chat_id, str(number))
    await log_in(tmp_path, live, alice.username)
    async with started(tmp_path, "tail", "Team", "--follow") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.wait_for(process.stdout.readline(), 30)
        process.stdout._transport.close()  # type: ignore[attr-defined]

        async def has_ended() -> bool:
            await alice.say(chat_id, "more")
            await asyncio.sleep(0.2)
            return process.returncode is not None

        await eventually(has_ended)
        assert (process.returncode, await process.stderr.read()) == (0, b"")
    async with started(tmp_path, "tail", "Team", "--follow") as process:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 30)
        process.send_signal(2)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (130, b"")


def test_text_is_sanitized() -> None:
    """Control and direction characters are replaced, combining marks are limited, all other text stays."""
    assert sanitize.lines("a\r\nb\tc\rd") == ["a", "b    c␍d"]
    assert sanitize.line("x\ny\x00\x7f\x85") == "x␊y␀␡‹85›"
    assert sanitize.lines("שלום \u2067x\u2069") == ["שלום ‹RLI›x‹PDI›"]
    assert sanitize.lines("e" + "\u0301" * 50) == ["e" + "\u0301" * 6]
    assert sanitize.lines("👨‍👩‍👧‍👦 日本 é") == ["👨‍👩‍👧‍👦 日本 é"]


async def test_missing_streams_and_encodings(live: Live, tmp_path: Path) -> None:
    """No input, no output, a full disk, an encoding without the letters: none of them is a traceback."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "日本 ok")
    await log_in(tmp_path, live, alice.username)
    command = f"{sys.executable} -m blazechat"

    async def shell(script: str, **environment: str) -> Result:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"BLAZECHAT_CLIENT_DIR": str(tmp_path)} | environment,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert b"Traceback" not in err, err.decode()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    assert (await shell(f"{command} send Team <&-")).code == 2
    assert (await shell(f"{command} login {live.url} --username x <&-")).code == 2
    assert (await shell(f"{command} tail Team >&-")).code == 1
    full = await shell(f"{command} chats >/dev/full")
    assert (full.code, "No space left" in full.err) == (1, True)
    ascii_only = await shell(f"{command} tail Team", PYTHONIOENCODING="ascii")
    assert (ascii_only.code, "\\u65e5\\u672c ok" in ascii_only.out) == (0, True)
    assert (await shell(f"{command} accounts | true; exit ${{PIPESTATUS[0]}}")).code == 0
    assert (await shell(f"{command} send Team $'\\xff'")).code == 2
    nowhere = await shell(f"{command} chats", BLAZECHAT_CLIENT_DIR="/dev/null/x")
    assert (nowhere.code, nowhere.err.startswith("blazechat: ")) == (1, True)
