"""Commands about the user's account, their sessions and the app's preferences."""

from rich.text import Text

from blazechat.client import Status
from blazechat.terminal import sanitize, slash_commands
from blazechat.terminal.commands.base import ScreenCommands
from blazechat.terminal.screens.dialogs import Choice, HelpScreen


class AccountCommands(ScreenCommands):
    async def help(self, arguments: str) -> None:
        await self.view.app.push_screen(HelpScreen())

    async def status(self, arguments: str) -> None:
        if arguments not in list(Status):
            raise slash_commands.usage_error("status")
        await self.client.set_status(Status(arguments))
        self.view.show_notice(f"Your status is {arguments}.")

    async def name(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("name")
        account = await self.client.account.update(display_name=arguments)
        self.client.state.set_account(account)

    async def notify(self, arguments: str) -> None:
        if arguments not in ("on", "off"):
            raise slash_commands.usage_error("notify")
        self.view.app_actions.set_notify(arguments == "on")

    async def theme(self, arguments: str) -> None:
        name = {"dark": "textual-dark", "light": "textual-light"}.get(arguments, arguments)
        if name not in self.view.app.available_themes:
            raise slash_commands.usage_error("theme")
        self.view.app.theme = name

    async def sessions(self, arguments: str) -> None:
        choices = []
        for session in await self.client.sessions.list_all():
            current = "  (this one)" if session.current else ""
            used = f"{session.last_used_at.astimezone():%Y-%m-%d %H:%M}"
            line = f"{sanitize.line(session.device)}  {session.address}  last used {used}{current}"
            choices.append(Choice(str(session.id), Text(line)))
        selected = await self.choose("Your sessions", choices, "Enter ends the selected session.")
        if selected is not None and await self.confirm("End this session?", "End it"):
            await self.client.sessions.revoke(int(selected))

    async def accounts(self, arguments: str) -> None:
        self.view.app_actions.change_account()

    async def logout(self, arguments: str) -> None:
        if await self.confirm("Log out on this machine? Unsent messages are kept.", "Log out"):
            self.view.app_actions.log_out()

    async def quit(self, arguments: str) -> None:
        await self.view.app.action_quit()
