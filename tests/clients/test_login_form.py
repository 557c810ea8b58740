"""The log-in form: focus, keys typed in a burst, errors beside their fields, small terminals."""

from pathlib import Path
from uuid import uuid4

import pytest
from textual.widgets import Input, Label

from tests.clients.screens import Terminal, terminal
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, eventually


def focused_field(ui: Terminal) -> str | None:
    focused = ui.app.screen.focused
    return focused.id if isinstance(focused, Input) else None


def error_of(ui: Terminal, field: str) -> str:
    """The error below a field; empty if none is displayed."""
    error = ui.app.screen.query_one(f"#{field}").parent.parent.query_one(".reason", Label)  # type: ignore[union-attr]
    return str(error.content) if error.display else ""


def value_of(ui: Terminal, field: str) -> str:
    return ui.app.screen.query_one(f"#{field}", Input).value


@pytest.mark.parametrize("between", ["\t", "\n"], ids=["tab", "enter"])
async def test_keys_in_a_burst_reach_their_fields(live: Live, tmp_path: Path, between: str) -> None:
    """Name, Tab or Enter, password and Enter in one write: the user is logged in."""
    alice = await live.person("alice")
    async with terminal(tmp_path, url=live.url) as ui:
        await ui.sees("User name", "Password")
        ui.type_in_a_burst(f"{alice.username}{between}{PASSWORD}\n")
        await ui.wait_until_online()


async def test_form_is_sent_once(live: Live, tmp_path: Path) -> None:
    """A second Enter, and what is typed after the first one, change nothing."""
    name = f"new{uuid4().hex[:12]}"
    async with terminal(tmp_path, url=live.url) as ui:
        await ui.press("ctrl+n")
        await ui.sees("E-mail")
        ui.type_in_a_burst(f"{name}\t{name}@example.com\t{PASSWORD}\nx\n")
        await ui.wait_until_online()
    await live.log_in(name)


async def test_app_can_be_left_during_a_log_in(live: Live, tmp_path: Path) -> None:
    """The request that is under way is cancelled without a traceback."""
    alice = await live.person("alice")
    async with terminal(tmp_path, url=live.url) as ui:
        ui.type_in_a_burst(f"{alice.username}\t{PASSWORD}\n")
        await eventually(lambda: ui.app.screen.query_one(".box").loading)


async def test_focus_is_on_the_first_empty_field(live: Live, tmp_path: Path) -> None:
    """In both forms; Shift+Tab goes back, and Enter goes on to what is still empty."""
    async with terminal(tmp_path / "a", url=live.url) as ui:
        await ui.sees("User name")
        assert focused_field(ui) == "username"
        await ui.type("alice")
        await ui.press("ctrl+n")
        await ui.sees("E-mail")
        assert focused_field(ui) == "email"
        await ui.press("shift+tab")
        assert focused_field(ui) == "username"
        await ui.press("enter")
        assert focused_field(ui) == "email"
    async with terminal(tmp_path / "b", url=live.url, account_name="alice") as ui:
        await ui.sees("User name")
        assert focused_field(ui) == "password"


@pytest.mark.parametrize("size", [(60, 20), (120, 40)], ids=lambda size: str(size[0]))
async def test_errors_stand_below_their_fields(
    new_server: NewServer, tmp_path: Path, size: tuple[int, int]
) -> None:
    """In any size, with the focus on the field and the input kept; editing the field removes the error."""
    live = await new_server(registration="invitation")
    await live.person("first")
    steps = (
        ("username", "User name", "A user name has 1 to 50 letters", "alice"),
        ("email", "E-mail", "nobody", "a@example.com"),
        ("password", "Password", "6 characters", PASSWORD),
        ("invitation", "Invitation", "invitation", "wrong"),
    )
    async with terminal(tmp_path, url=live.url, size=size) as ui:
        await ui.press("ctrl+n")
        await ui.sees("E-mail")
        ui.type_in_a_burst("ali ce\tnobody\tx\n")
        for position, (field, label, error, right) in enumerate(steps):
            await eventually(lambda f=field: error_of(ui, f))
            await ui.sees(label, error)
            assert focused_field(ui) == field
            top = next(y for y, line in enumerate(ui.lines) if label in line)
            below = "\n".join(ui.lines[top : top + 5])
            assert error_of(ui, field)[:20] in below, below
            still_wrong = [name for name, *_ in steps[:3]][position:] or ["invitation"]
            assert [name for name, *_ in steps if error_of(ui, name)] == still_wrong
            ui.app.screen.query_one(f"#{field}", Input).value = right
            await eventually(lambda f=field: not error_of(ui, f))
            await ui.press("enter")
        assert value_of(ui, "password") == PASSWORD


async def test_missing_fields_are_named(live: Live, tmp_path: Path) -> None:
    """By the button, without a request to the server."""
    async with terminal(tmp_path, url=live.url, size=(60, 20)) as ui:
        await ui.sees("Password")
        await ui.pilot.click("#log-in")
        await ui.sees("User name is missing.", "Password is missing.")
        assert focused_field(ui) == "username"
