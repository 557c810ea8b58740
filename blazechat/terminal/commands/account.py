"""What the commands about oneself and the program do."""

from rich.text import Text

from blazechat.client import Status
from blazechat.terminal import sanitize, slash_commands
from blazechat.terminal.commands.base import ScreenCommands
from blazechat.terminal.screens.dialogs import Choice, HelpScreen


class AccountCommands(ScreenCommands):
    async def help(self, rest: str) -> None:
        await self.screen.app.push_screen(HelpScreen())

    async def status(self, rest: str) -> None:
        if rest not in list(Status):
            raise slash_commands.usage_error("status")
        await self.client.set_status(Status(rest))
        self.screen.show_toast(f"You are shown as {rest}.", timeout=3)

    async def name(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("name")
        account = await self.client.account.update(display_name=rest)
        self.client.state.set_account(account)

    async def notify(self, rest: str) -> None:
        if rest not in ("on", "off"):
            raise slash_commands.usage_error("notify")
        self.screen.app.set_calls(rest == "on")  # type: ignore[attr-defined]

    async def theme(self, rest: str) -> None:
        name = {"dark": "textual-dark", "light": "textual-light"}.get(rest, rest)
        if name not in self.screen.app.available_themes:
            raise slash_commands.usage_error("theme")
        self.screen.app.theme = name

    async def sessions(self, rest: str) -> None:
        choices = []
        for each in await self.client.sessions.list_all():
            here = "  (this one)" if each.current else ""
            used = f"{each.last_used_at.astimezone():%Y-%m-%d %H:%M}"
            line = f"{sanitize.line(each.device)}  {each.address}  last used {used}{here}"
            choices.append(Choice(str(each.id), Text(line)))
        chosen = await self.choose("Where you are logged in", choices, "Enter ends one.")
        if chosen is not None and await self.confirm("End this session?", "End it"):
            await self.client.sessions.revoke(int(chosen))

    async def accounts(self, rest: str) -> None:
        self.screen.app.change_account()  # type: ignore[attr-defined]

    async def logout(self, rest: str) -> None:
        if await self.confirm("Log out on this machine? What was not sent yet is kept.", "Log out"):
            self.screen.app.log_out()  # type: ignore[attr-defined]

    async def quit(self, rest: str) -> None:
        await self.screen.app.action_quit()
