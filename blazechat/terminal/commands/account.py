"""Commands about the user's account, their sessions and the app's preferences."""

from rich.text import Text
from textual.app import App

from blazechat.client import Session, Status
from blazechat.terminal import sanitize, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands
from blazechat.terminal.screens.dialogs import Choice
from blazechat.terminal.screens.help import HelpScreen

MIN_WIDTH, MAX_WIDTH = 20, 1000
"""Columns of text that `/width` accepts."""


THEME_ALIASES = {"dark": "textual-dark", "light": "textual-light"}
ALL_OTHERS = "others"
"""The key of the choice that ends all other sessions."""


def theme_names(app: App[object]) -> list[str]:
    """Return the names that `/theme` accepts."""
    others = sorted(set(app.available_themes) - set(THEME_ALIASES.values()))
    return [*THEME_ALIASES, *others]


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

    async def width(self, arguments: str) -> None:
        if not arguments.isdecimal() or not MIN_WIDTH <= int(arguments) <= MAX_WIDTH:
            raise slash_commands.usage_error("width")
        self.view.app_actions.set_text_columns(int(arguments))
        self.view.message_list.set_max_text_columns(int(arguments))
        self.view.show_notice(f"Text is at most {int(arguments)} columns wide.")

    async def theme(self, arguments: str) -> None:
        if not arguments:
            await self._choose_theme()
        elif THEME_ALIASES.get(arguments, arguments) in self.view.app.available_themes:
            self._set_theme(arguments)
        else:
            raise CommandRefused(f"There is no theme {arguments}. /theme lists them.")

    async def _choose_theme(self) -> None:
        """List the themes. The highlighted one is displayed; closing the list restores the current one."""
        before = self.view.app.theme
        choices = [
            Choice(name, Text(f"{'✓' if THEME_ALIASES.get(name, name) == before else ' '} {name}"))
            for name in theme_names(self.view.app)
        ]
        current = next((name for name, theme in THEME_ALIASES.items() if theme == before), before)
        hint = "Enter changes the theme."
        self._set_theme(await self.choose("Themes", choices, hint, current, self._set_theme) or before)

    def _set_theme(self, name: str) -> None:
        self.view.app.theme = THEME_ALIASES.get(name, name)

    async def sessions(self, arguments: str) -> None:
        """List the sessions until the user closes the list; end those that they select."""
        while True:
            sessions = await self.client.sessions.list_all()
            others = [session for session in sessions if not session.current]
            choices = [Choice(str(session.id), _session_line(session)) for session in sessions]
            if others:
                choices.append(Choice(ALL_OTHERS, Text(f"End all others ({len(others)})")))
            selected = await self.choose("Your sessions", choices, "Enter ends the selected session.")
            if selected is None:
                return
            chosen = [each for each in sessions if str(each.id) == selected] or others
            if chosen[0].current:
                await self.logout("")
                return
            await self._end_sessions(chosen)

    async def _end_sessions(self, sessions: list[Session]) -> None:
        if len(sessions) == 1:
            device = sanitize.line(sessions[0].device)
            question, done = f"End the session of {device}?", f"The session of {device} is ended."
        else:
            question, done = (
                f"End all {len(sessions)} other sessions?",
                f"{len(sessions)} sessions are ended.",
            )
        if await self.confirm(question, "End it" if len(sessions) == 1 else "End them"):
            for session in sessions:
                await self.client.sessions.revoke(session.id)
            self.view.show_notice(done)

    async def accounts(self, arguments: str) -> None:
        self.view.app_actions.change_account()

    async def logout(self, arguments: str) -> None:
        if await self.confirm("Log out on this machine? Unsent messages are kept.", "Log out"):
            self.view.app_actions.log_out()

    async def quit(self, arguments: str) -> None:
        await self.view.app.action_quit()


def _session_line(session: Session) -> Text:
    used = f"{session.last_used_at.astimezone():%Y-%m-%d %H:%M}"
    line = Text(sanitize.line(session.device), no_wrap=True, overflow="ellipsis")
    if session.current:
        line.append("  this one", "bold")
    line.append(f"  {session.address}  last used {used}", "dim")
    return line
