"""The first chats of README.md and docs/api.md run as they are printed there, by copy and paste."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NewServer

ROOT = Path(__file__).parent.parent.parent


def _blocks(page: str, heading: str, url: str) -> list[str]:
    """Return the bash blocks of a section, for the server at `url` and the commands of this environment."""
    section = (ROOT / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    commands = str(Path(sys.executable).parent)
    return [
        block.replace("127.0.0.1:8000", url.removeprefix("http://")).replace(".venv/bin", commands)
        for block in blocks
    ]


def _run(script: str) -> str:
    """Run a script to its end, and return its output."""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _start(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


async def _read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read lines until one contains `text`, and return all of them."""
    assert process.stdout is not None
    output = ""
    while text not in output:
        line = await asyncio.to_thread(process.stdout.readline)
        assert line, output
        output += line
    return output


async def test_first_chat_with_curl(new_server: NewServer) -> None:
    """Two users, a chat, Bob's socket, Alice's message on it, and Bob's answer in the history."""
    live = await new_server()
    first, bobs, second = _blocks("docs/api.md", "A first chat with curl", live.url)
    created = await asyncio.to_thread(_run, first)
    assert '"is_admin":true' in created
    assert '"is_group_chat":false' in created
    bob = await asyncio.to_thread(_start, bobs)
    assert bob.stdout is not None
    assert bob.stdin is not None
    line = await asyncio.to_thread(bob.stdout.readline)
    assert "Connected" in line
    # The token is in a variable of the first terminal: run the same script again, without the registration.
    script = re.sub(r"for name.*?done\n", "", first, flags=re.DOTALL) + second
    assert '"content":"Hello, Bob!"' in await asyncio.to_thread(_run, script)
    bob.stdin.write("Hello, Alice!\n")
    bob.stdin.flush()
    assert "Hello, Bob!" in await _read_until(bob, "Hello, Alice!")
    bob.stdin.close()
    bob.stdout.close()
    await asyncio.to_thread(bob.wait, 20)


async def test_first_chat_with_the_command(
    new_server: NewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two accounts, Alice's message, and Bob's terminal, which prints it and follows the chat."""
    monkeypatch.setenv("BLAZECHAT_CLIENT_DIR", str(tmp_path))
    live = await new_server()
    accounts, send, follow = _blocks("README.md", "A first chat", live.url)
    await asyncio.to_thread(_run, accounts)
    assert await asyncio.to_thread(_run, send) == "1\n"
    bob = await asyncio.to_thread(_start, follow)
    assert bob.stdin is not None
    assert bob.stdout is not None
    await _read_until(bob, "Hello, Bob!")
    await asyncio.to_thread(_run, send.replace("Hello", "Hello again"))
    await _read_until(bob, "Hello again, Bob!")
    os.killpg(bob.pid, signal.SIGINT)
    bob.stdin.close()
    bob.stdout.close()
    await asyncio.to_thread(bob.wait, 20)
