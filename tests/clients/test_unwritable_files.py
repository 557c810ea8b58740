"""The terminal app whose files cannot be written, and its traceback after an unexpected error."""

import os
from pathlib import Path

import pytest

from blazechat.terminal.accounts import SavedAccounts
from blazechat.terminal.app import ChatApp
from tests.clients.screens import save_login, terminal
from tests.clients.test_command import running
from tests.harness import PASSWORD, Live


async def test_reason_is_shown_on_the_log_in_form(live: Live, tmp_path: Path) -> None:
    """After the log-in, at the start of a saved account, and after /logout."""
    alice = await live.person("alice")
    obstacle = tmp_path / f".accounts.json.{os.getpid()}"  # a folder in place of the temporary file
    obstacle.mkdir()
    async with terminal(tmp_path, url=live.url) as ui:
        await ui.sees("User name")
        ui.type_in_a_burst(f"{alice.username}\t{PASSWORD}\n")
        await ui.sees("Your login cannot be saved: ")
        obstacle.rmdir()
        await save_login(SavedAccounts(tmp_path), live.url, alice)
        obstacle.mkdir()
    async with terminal(tmp_path, url=live.url) as ui:
        await ui.sees("The files of this account cannot be written: ")
    obstacle.rmdir()
    async with terminal(tmp_path, url=live.url) as ui:
        await ui.wait_until_online()
        obstacle.mkdir()
        await ui.enter("/logout")
        await ui.press("y")
        await ui.sees("Your login cannot be deleted here: ")


async def test_command_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with running(tmp_path / "file" / "folder", "-m", "blazechat", "chat") as command:
        await command.sees("blazechat: Not a directory: ")
        assert await command.end() == 1
        assert "Traceback" not in command.text


async def test_traceback_has_no_local_variables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They might be passwords and tokens, and tracebacks are pasted into public issues."""

    def fail() -> None:
        password = PASSWORD[::-1]  # the source line, which is shown, does not contain it
        raise RuntimeError("unexpected" if password else "")

    app = ChatApp(SavedAccounts(tmp_path))

    async def run() -> None:
        async with app.run_test() as pilot:
            app.call_later(fail)
            await pilot.pause()

    with pytest.raises(RuntimeError):
        await run()
    app._print_error_renderables()
    shown = capsys.readouterr().err
    assert "RuntimeError: unexpected" in shown
    assert PASSWORD[::-1] not in shown
