"""The `blazechat` command in a pseudo-terminal: reads its bytes and writes keys."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.test_scripting import blazechat
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, eventually

ROOT = Path(__file__).parent.parent.parent
ENTER, ALT_ENTER, CTRL_K, CTRL_Q, TAB = "\r", "\x1b\r", "\x0b", "\x11", "\t"


class PseudoTerminal:
    """A program in a terminal of 80 columns and 24 lines. `seen` is its whole output."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.seen = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = os.environ | {
            "BLAZECHAT_CLIENT_DIR": str(folder),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    async def sees(self, wanted: str) -> None:
        try:
            await eventually(lambda: wanted in self.text, 30)
        except TimeoutError:
            raise AssertionError(f"{wanted!r} not in {self.text[-3000:]}") from None

    @property
    def text(self) -> str:
        """The output without control sequences."""
        return re.sub(r"\x1b\[[0-9;?>=<:]*[a-zA-Z]|\x1b[P\]_][^\x07\x1b]*(\x07|\x1b\\)", "", self.seen)

    async def end(self) -> int:
        return await asyncio.to_thread(self.process.wait, 30)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _read(self) -> None:
        try:
            self.seen += os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # the program has ended
            asyncio.get_running_loop().remove_reader(self._ours)


@contextmanager
def running(folder: Path, *command: str) -> Iterator[PseudoTerminal]:
    terminal = PseudoTerminal(folder, *command)
    try:
        yield terminal
    finally:
        terminal.close()


async def test_terminal_client_from_registration_to_history(new_server: NewServer, tmp_path: Path) -> None:
    """`python terminal_client.py`: register, open a chat, send, receive, quit; then read the history."""
    live = await new_server()
    bob = await live.person("bob")
    with running(tmp_path, "terminal_client.py", live.url) as alice:
        await alice.sees("Password")
        alice.press("\x0e")  # Ctrl+N: new account
        await alice.sees("E-mail")
        alice.press(f"alice{ENTER}")
        await asyncio.sleep(0.2)
        alice.press(f"alice@example.com{ENTER}")
        await asyncio.sleep(0.2)
        alice.press(f"{PASSWORD}{ENTER}")
        await alice.sees("● online")
        alice.press(f"/dm @{bob.username}{ENTER}")
        await alice.sees("the beginning of this chat")
        alice.press(f"first{ALT_ENTER}line two{ENTER}")
        await eventually(lambda: _has_said(bob, ["first\nline two"]))
        await bob.say(1, "Hello from Bob")
        await alice.sees("Hello from Bob")
        alice.press(CTRL_Q)
        assert await alice.end() == 0
        assert "\x1b[?1049l" in alice.seen  # the alternate screen is closed
        assert "Traceback" not in alice.seen
    with running(tmp_path, "-m", "blazechat", "chat") as again:
        await again.sees("● online")
        await again.sees("line two")
        again.press(f"/quit{ENTER}")
        assert await again.end() == 0


async def _has_said(person: object, wanted: list[str]) -> bool:
    from tests.harness import Person

    assert isinstance(person, Person)
    return [message["content"] for message in await person.history(1)] == wanted


async def test_fast_typing_reaches_the_right_chat(live: Live, tmp_path: Path) -> None:
    """A burst of keys that changes between two chats: each text is in its chat, in order, none is lost."""
    alice, bob = await live.people("alice", "bob")
    one, two = await alice.group(bob, name="First"), await alice.group(bob, name="Second")
    done = await blazechat(tmp_path, "login", live.url, "--username", alice.username, stdin=f"{PASSWORD}\n")
    assert done.code == 0
    with running(tmp_path, "-m", "blazechat", "chat") as terminal:
        await terminal.sees("● online")
        await terminal.sees("Write a message")
        burst = ""
        for number in range(10):
            burst += f"{CTRL_K}First{ENTER}f{number}x\x7f :tada: ok{ENTER}"
            burst += f"{CTRL_K}Second{ENTER}s{number}{ENTER}"
        terminal.press(burst)

        async def all_there() -> bool:
            first, second = await alice.history(one), await alice.history(two)
            return len(first) + len(second) >= 20

        await eventually(all_there)
        contents = [[m["content"] for m in reversed(await alice.history(chat))] for chat in (one, two)]
        assert contents[0] == [f"f{number} 🎉 ok" for number in range(10)]
        assert contents[1] == [f"s{number}" for number in range(10)]
        terminal.process.send_signal(signal.SIGTERM)
        await terminal.end()
