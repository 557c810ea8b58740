"""Terminals of a reader: a shell that keeps its variables, and programs that run beside it until Ctrl-C."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, STDOUT
from contextlib import suppress
from pathlib import Path

TIMEOUT_SECONDS = 20.0
MARK = "<end of script "
SETUP = f"""
set -eu -o pipefail
trap 'printf "{MARK}%s: %s>" "$SCRIPT" "$?"' EXIT
curl() {{ command curl --fail-with-body "$@"; }}
"""
"""An HTTP error fails the script. A reader would see the problem."""


class Failed(Exception):
    """What went wrong, with the output."""


class Program:
    """A program of a terminal, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self.output = ""
        self.has_ended = False

    @classmethod
    async def start(cls, *command: str, cwd: Path, env: dict[str, str]) -> "Program":
        return cls(
            await asyncio.create_subprocess_exec(
                *command, cwd=cwd, env=env, stdin=PIPE, stdout=PIPE, stderr=STDOUT, start_new_session=True
            )
        )

    async def wait_for(self, text: str, start: int = 0) -> None:
        """Wait until the output after `start` has a text. Raises Failed if it ends or takes too long."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while text not in self.output[start:]:
                    if self.has_ended:
                        raise Failed(f"It has ended without {text!r}:\n{self.output[start:]}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Failed(f"There is no {text!r} in:\n{self.output[start:]}") from None

    def write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    async def wait(self) -> None:
        """Wait for the end. Raises Failed if it takes too long or has an exit code other than 0."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._reader
                code = await self._process.wait()
        except TimeoutError:
            raise Failed(f"It does not end:\n{self.output}") from None
        if code:
            raise Failed(f"It ended with the exit code {code}:\n{self.output}")

    async def interrupt(self) -> None:
        """End it as Ctrl-C does. Raises Failed if it does not end, or shows a traceback."""
        self._signal(signal.SIGINT)
        with suppress(Failed):  # an exit code of Ctrl-C
            await self.wait()
        if not self.has_ended or "Traceback" in self.output:
            raise Failed(f"Ctrl-C does not end it quietly:\n{self.output}")

    async def kill(self) -> None:
        """End it and what it has started."""
        self._signal(signal.SIGKILL)
        await self._reader
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(65_536):
            self.output += chunk.decode(errors="replace")
            self._changed.set()
        self.has_ended = True
        self._changed.set()


class Shell:
    """A terminal with bash. It ends at the first command that fails, or that uses an unset variable."""

    def __init__(self, program: Program, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._scripts = 0

    @classmethod
    async def start(cls, *, cwd: Path, env: dict[str, str]) -> "Shell":
        program = await Program.start("bash", "--noprofile", "--norc", cwd=cwd, env=env)
        program.write(SETUP)
        return cls(program, cwd)

    @property
    def output(self) -> str:
        return self._program.output

    async def run(self, code: str, *, may_fail: bool = False) -> None:
        """Run a script in this shell. Raises Failed."""
        self._scripts += 1
        start, mark = len(self.output), f"{MARK}{self._scripts}: "
        (self._folder / ".script").write_text(code)
        # The script must not read what follows it in the shell's own input.
        run = f". ./.script </dev/null {'|| true' if may_fail else ''}"
        self._program.write(f"SCRIPT={self._scripts}\n{run}\nprintf '%s' '{mark}0>'\n")
        await self._program.wait_for(mark, start)
        if f"{mark}0>" not in self.output[start:]:
            raise Failed(f"It failed:\n{self.output[start:]}")

    async def wait_for(self, text: str, start: int) -> None:
        """Wait until the output after `start` has a text, as that of a background job. Raises Failed."""
        await self._program.wait_for(text, start)

    async def kill(self) -> None:
        await self._program.kill()
