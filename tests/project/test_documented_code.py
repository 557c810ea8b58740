"""Every code block of README.md and docs/ runs as it is printed, in the order in which a reader meets it.

One server, one terminal: the variables and accounts of earlier blocks are there for later ones.
code_blocks.py lists the options of blocks that are tested in another way.
"""

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from blazechat.domain.integrations import template_language
from blazechat.domain.integrations.template_protocol import Rendered, RenderJob
from tests.conftest import NewServer
from tests.files.pictures import photo
from tests.harness import Live, eventually
from tests.project.code_blocks import ROOT, Block, blocks_of, pages
from tests.project.terminals import Failed, Program, Shell

PRINTED_SERVER = "127.0.0.1:8000"
PRINTED_PORTS = ("9000", "9001")
"""Of receivers of webhooks."""
TOOLS = ("bash", "curl", "jq", "make")
SKIPPED_BLOCKS = 0
"""Blocks with `skip`. One more needs a good reason."""
DIAGRAMS = 4
"""Blocks without a language, which show no code."""
SHELLS, DATA = ("bash", "sh"), ("json", "jinja")
INSTALLED_BY_READERS = {"httpx2", "openapi-python-client", "standardwebhooks", "websockets"}
"""Packages of a package index that pages tell readers to install."""


class Walk:
    """A reader on the way through pages, at a server."""

    def __init__(self, live: Live, folder: Path, env: dict[str, str], shell: Shell) -> None:
        self._live = live
        self._folder = folder
        self._env = env
        self._shell = shell
        self._printed = {PRINTED_SERVER: live.url.removeprefix("http://")}
        self._printed |= dict(zip(PRINTED_PORTS, _free_ports(), strict=True))

    async def read(self, page: str, *, is_first: bool) -> None:
        """Run the blocks of a page. Terminals beside the shell end with the page. Raises AssertionError."""
        async with AsyncExitStack() as stack:
            terminals: dict[str, Program] = {}
            for block in blocks_of(page):
                names = {name for name, _ in block.options}
                if names & {"skip", "elsewhere"} or ("first" in names and not is_first):
                    continue
                try:
                    await self._run(block, terminals, stack)
                except Failed as error:
                    pytest.fail(f"{block}\n{error}\n\nThe block:\n{block.code}", pytrace=False)
            for name, program in terminals.items():
                try:
                    await program.interrupt()
                except Failed as error:
                    pytest.fail(f"{page}: terminal {name}\n{error}", pytrace=False)

    async def _run(self, block: Block, terminals: dict[str, Program], stack: AsyncExitStack) -> None:
        start = len(self._shell.output)
        code = re.sub("|".join(self._printed), lambda found: self._printed[found[0]], block.code)
        if (file := block.option("save")) is not None:
            (self._folder / file).write_text(code)
        elif (name := block.option("terminal")) is not None:
            terminals[name] = await self._start(block.language, code)
            stack.push_async_callback(terminals[name].kill)
        elif block.language in DATA:
            _check_data(block.language, code)
        elif block.language and block.option("repeat until") is None:
            await self._shell.run(self._as_script(block, code))
        for option, value in block.options:
            if option == "repeat until":
                while value not in self._shell.output[start:]:
                    await self._shell.run(code, may_fail=True)
            else:
                await self._expect(option, value, terminals, start)

    def _as_script(self, block: Block, code: str) -> str:
        if block.language == "python":
            (self._folder / "block.py").write_text(code)
            return ".venv/bin/python block.py"
        if block.language not in SHELLS:
            raise Failed(f"There is no way to run {block.language}.")
        return (
            f"export MAKEFLAGS=n; {code}unset MAKEFLAGS\n" if block.option("dry run") is not None else code
        )

    async def _start(self, language: str, code: str) -> Program:
        name = "program.py" if language == "python" else "program.sh"
        (self._folder / name).write_text(code)
        interpreter = self._env["PYTHON"] if language == "python" else "bash"
        return await Program.start(interpreter, name, cwd=self._folder, env=self._env)

    async def _expect(self, option: str, value: str, terminals: dict[str, Program], start: int) -> None:
        """Do or check what an option asks for after the block."""
        match option.split():
            case ["prints"]:
                await self._shell.wait_for(value, start)
            case [name, "prints"]:
                await terminals[name].wait_for(value)
            case [name, "types"]:
                terminals[name].write(f"{value}\n")
            case ["online"]:
                await eventually(lambda: self._is_online(value))

    async def _is_online(self, username: str) -> bool:
        alice = await self._live.log_in("alice", "wonderland")
        users = (await alice.get("/api/users")).json()
        return any(user["username"] == username and user["status"] == "online" for user in users)


def _free_ports() -> list[str]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in (one, other)]


def _check_data(language: str, code: str) -> None:
    """Raises Failed unless the block is valid JSON, of one value or more, or a valid template."""
    if language == "jinja":
        result = template_language.run(RenderJob(code, None, None, 0))
        if not isinstance(result, Rendered):
            raise Failed(str(result))
        return
    decoder, rest = json.JSONDecoder(), code.strip()
    while rest:
        try:
            _, end = decoder.raw_decode(rest)
        except ValueError as error:
            raise Failed(f"This is not JSON: {error}") from None
        rest = rest[end:].lstrip()


@asynccontextmanager
async def _walk(live: Live, folder: Path) -> AsyncIterator[Walk]:
    """A reader in a checkout with an installed environment."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        assert not os.environ.get("CI"), f"CI needs {', '.join(missing)}"
        pytest.skip(f"The pages use tools that this machine does not have: {', '.join(missing)}")
    commands = Path(sys.executable).parent
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(commands.parent)
    (folder / "holiday.jpg").write_bytes(photo())
    env = os.environ | {
        "HOME": str(folder),
        "BLAZECHAT_CLIENT_DIR": str(folder / "accounts"),
        "PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{commands}:{os.environ['PATH']}",
    }
    shell = await Shell.start(cwd=folder, env=env)
    try:
        yield Walk(live, folder, env, shell)
    finally:
        await shell.kill()


async def test_every_code_block_runs_in_reading_order(new_server: NewServer, open_folder: Path) -> None:
    """From the README on, on one fresh server."""
    live = await new_server(webhook_allowed_hosts="127.0.0.1")
    async with _walk(live, open_folder) as walk:
        for page in pages():
            await walk.read(page, is_first=page == "README.md")


async def test_first_chat_with_curl_needs_no_other_page(new_server: NewServer, open_folder: Path) -> None:
    """A reader may begin with docs/api.md."""
    async with _walk(await new_server(), open_folder) as walk:
        await walk.read("docs/api.md", is_first=True)


def test_blocks_that_are_not_run_are_named() -> None:
    """They have a reason, or a test elsewhere that names their page."""
    skipped = diagrams = 0
    for block in [block for page in pages() for block in blocks_of(page)]:
        reason = block.option("skip")
        assert reason != "", f"{block}: skip needs a reason"
        skipped += reason is not None
        diagrams += not block.language
        if (test := block.option("elsewhere")) is not None:
            assert (ROOT / test).exists(), f"{block}: there is no {test}"
            assert Path(block.page).name in (ROOT / test).read_text(), f"{block}: {test} does not name it"
    assert (skipped, diagrams) == (SKIPPED_BLOCKS, DIAGRAMS)


def test_pip_installs_what_exists() -> None:
    """BlazeChat is on no package index before its first release: it is installed from a checkout."""
    for page in pages():
        for command in re.findall(r"pip install ([^`\n]+)", (ROOT / page).read_text()):
            for package in command.replace("'", "").split():
                exists = package.startswith((".", "-")) or package.endswith(".txt")
                assert exists or package in INSTALLED_BY_READERS, f"{page}: pip install {package}"
    for source in (ROOT / "blazechat").rglob("*.py"):
        assert not re.search(r"pip install '?blazechat", source.read_text()), source.name
