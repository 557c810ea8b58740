"""The terminal app, pressed like a person would press it, on a live server."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from blazechat.client import ConnectionState
from blazechat.client.login import Login
from blazechat.terminal.accounts import Accounts
from blazechat.terminal.app import ChatApp
from blazechat.terminal.screens.chat import ChatScreen
from tests.harness import PASSWORD, Live, Person, eventually

KEYS = {" ": "space", "\n": "enter", "/": "slash", "@": "at", ":": "colon", "-": "minus", ".": "full_stop"}


@dataclass
class Terminal:
    app: ChatApp
    pilot: Pilot[None]

    @property
    def screen(self) -> ChatScreen:
        assert isinstance(self.app.screen, ChatScreen), self.app.screen
        return self.app.screen

    async def type(self, text: str) -> None:
        await self.pilot.press(*(KEYS.get(character, character) for character in text))

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def say(self, text: str) -> None:
        await self.type(text)
        await self.press("enter")

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips[: self.app.size.height]]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def told(self) -> list[str]:
        """What was told in the corner, where it is broken into short lines."""
        return [f"{each.title}\n{each.message}".lstrip("\n") for each in self.app._notifications]

    async def sees(self, *wanted: str) -> None:
        """Wait until all that is on the screen, or was told in its corner."""

        async def is_there() -> bool:
            await self.pilot.pause()
            seen = "\n".join([self.text, *self.told])
            return all(each in seen for each in wanted)

        try:
            await eventually(is_there)
        except TimeoutError:
            raise AssertionError(f"{wanted} not on the screen:\n{self.text}\n{self.told}") from None

    async def sees_no(self, unwanted: str) -> None:
        async def is_gone() -> bool:
            await self.pilot.pause()
            return unwanted not in self.text

        try:
            await eventually(is_gone)
        except TimeoutError:
            raise AssertionError(f"{unwanted} still on the screen:\n{self.text}") from None

    async def is_online(self) -> None:
        async def online() -> bool:
            await self.pilot.pause()
            return (
                isinstance(self.app.screen, ChatScreen)
                and self.screen.client.connection_state is ConnectionState.ONLINE
            )

        await eventually(online)

    async def open(self, chat: str) -> None:
        """Find a chat by its name."""
        await self.press("ctrl+k")
        await self.say(chat)

    @property
    def picture(self) -> str:
        """The screen as text, with everything that differs between runs made the same."""
        text = re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:00000", self.text)
        return re.sub(r"\d\d:\d\d", "00:00", text)


async def named(live: Live, *usernames: str) -> list[Person]:
    """New users who are called just so, on a server of one's own."""
    for username in usernames:
        body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
        (await live.client().post("/api/auth/register", json=body)).raise_for_status()
    return [await live.log_in(username) for username in usernames]


async def remember(accounts: Accounts, url: str, person: Person) -> None:
    """As if this person had logged in here before."""
    tokens = person.tokens
    login = Login(
        url, person.id, person.username, tokens["access_token"], tokens["refresh_token"], time.time()
    )
    await accounts.vault(url).save(login)


@asynccontextmanager
async def terminal(
    folder: Path,
    person: Person | None = None,
    *,
    url: str = "",
    size: tuple[int, int] = (80, 24),
    **options: Any,
) -> AsyncIterator[Terminal]:
    """The app, on a folder of its own; with a person, as them, and online."""
    accounts = Accounts(folder)
    if person is not None:
        url = url or person.live.url
        await remember(accounts, url, person)
    app = ChatApp(accounts, url or None, **options)
    async with app.run_test(size=size) as pilot:
        shown = Terminal(app, pilot)
        if person is not None:
            await shown.is_online()
        yield shown
