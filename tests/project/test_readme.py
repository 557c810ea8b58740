"""The README's first chat, copied and pasted."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import NewServer

README = Path(__file__).parent.parent.parent / "README.md"


def _first_chat(url: str) -> list[str]:
    """The blocks of the section, for a server that listens elsewhere."""
    section = README.read_text().partition("## A first chat")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    command = str(Path(sys.executable).with_name("websockets"))
    return [
        block.replace("127.0.0.1:8000", url.removeprefix("http://")).replace(
            ".venv/bin/websockets", command
        )
        for block in blocks
    ]


async def test_first_chat_by_copy_and_paste(new_server: NewServer) -> None:
    """Two users, a chat, Bob's socket, Alice's message on it, and Bob's answer in the history."""
    live = await new_server()
    first, bobs, second = _first_chat(live.url)

    def bob_listens() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", bobs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def alice(script: str) -> str:
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = await asyncio.to_thread(alice, first)
    assert '"is_admin":true' in told
    assert '"is_group_chat":false' in told
    bob = await asyncio.to_thread(bob_listens)
    assert bob.stdout is not None
    assert bob.stdin is not None
    line = await asyncio.to_thread(bob.stdout.readline)
    assert "Connected" in line
    # The token is in a variable of the first terminal: the same script again, without the registering.
    script = re.sub(r"for name.*?done\n", "", first, flags=re.DOTALL) + second
    assert '"content":"Hello, Bob!"' in await asyncio.to_thread(alice, script)
    bob.stdin.write("Hello, Alice!\n")
    bob.stdin.flush()
    heard = ""
    while "Hello, Alice!" not in heard:
        line = await asyncio.to_thread(bob.stdout.readline)
        assert line, heard
        heard += line
    assert "Hello, Bob!" in heard
    bob.stdin.close()
    bob.stdout.close()
    await asyncio.to_thread(bob.wait, 20)
