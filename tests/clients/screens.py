"""Drives the terminal app with key presses on a live server, and reads its screen."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.events import Key
from textual.keys import _character_to_key
from textual.pilot import Pilot

from blazechat.client import ConnectionState
from blazechat.client.login import Login
from blazechat.terminal.accounts import SavedAccounts
from blazechat.terminal.app import ChatApp
from blazechat.terminal.screens.chat import ChatScreen
from blazechat.terminal.widgets.notice_line import NoticeLine
from tests.harness import PASSWORD, Live, Person, eventually

SETTLE_SECONDS = 1.0
NAMED_KEYS = {"\n": "enter", "\t": "tab"}


@dataclass
class Terminal:
    """The running app, and the pilot that waits for it."""

    app: ChatApp
    pilot: Pilot[None]

    @property
    def screen(self) -> ChatScreen:
        assert isinstance(self.app.screen, ChatScreen), self.app.screen
        return self.app.screen

    async def type(self, text: str) -> None:
        await self.press(*(NAMED_KEYS.get(character, character) for character in text))

    def type_in_a_burst(self, text: str) -> None:
        """Send keys as a terminal does that has received them together: none waits for the one before."""
        for character in text:
            self.app.post_message(_key_event(NAMED_KEYS.get(character, character)))

    async def press(self, *keys: str) -> None:
        """Press keys, by character or by name, each after the one before was handled.

        The pilot's own `press()` waits until the process is idle, 40 ms or more per key; with a server in
        the same process, that tells nothing.
        """
        for key in keys:
            self.app.post_message(_key_event(key).set_sender(self.app))
            await self.settled()

    async def settled(self) -> None:
        """Wait until the app has handled what is queued, and what that has queued."""
        with contextlib.suppress(TimeoutError):  # an app that ends does not handle everything
            async with asyncio.timeout(SETTLE_SECONDS):
                for _ in range(2):
                    await self.pilot.pause(0)

    async def enter(self, text: str) -> None:
        """Type a text and press Enter."""
        await self.type(text)
        await self.press("enter")

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without trailing spaces."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips[: self.app.size.height]]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def notices(self) -> list[str]:
        """The notices that were shown, in full, the newest first. On the screen they have one line."""
        lines = [line for screen in self.app.screen_stack for line in screen.query(NoticeLine)]
        return [f"{notice.text}\n{notice.details}".rstrip() for line in lines for notice in line.kept]

    async def sees(self, *wanted: str) -> None:
        """Wait until all these texts are on the screen or in a notice that was shown."""

        async def is_there() -> bool:
            await self.settled()
            visible = "\n".join([self.text, *self.notices])
            return all(text in visible for text in wanted)

        try:
            await eventually(is_there)
        except TimeoutError:
            raise AssertionError(f"{wanted} not on the screen:\n{self.text}\n{self.notices}") from None

    async def sees_no(self, unwanted: str) -> None:
        """Wait until this text is no longer on the screen."""

        async def is_gone() -> bool:
            await self.settled()
            return unwanted not in self.text

        try:
            await eventually(is_gone)
        except TimeoutError:
            raise AssertionError(f"{unwanted} still on the screen:\n{self.text}") from None

    async def wait_until_online(self) -> None:
        async def online() -> bool:
            await self.settled()
            return (
                isinstance(self.app.screen, ChatScreen)
                and self.screen.client.connection_state is ConnectionState.ONLINE
            )

        await eventually(online)

    async def open(self, chat: str) -> None:
        """Open a chat by its name."""
        await self.press("ctrl+k")
        await self.enter(chat)

    @property
    def snapshot(self) -> str:
        """The screen as text, with ports and times replaced, since they differ between runs."""
        text = re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:00000", self.text)
        return re.sub(r"\d\d:\d\d", "00:00", text)


def _key_event(key: str) -> Key:
    """Return the event of a key, given by its character or its name."""
    if len(key) == 1:
        return Key(key if key.isalnum() else _character_to_key(key), key)
    return Key(key, " " if key == "space" else None)


async def register(live: Live, *usernames: str) -> list[Person]:
    """Register users with exactly these names. They must not exist on the server yet."""
    for username in usernames:
        body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
        (await live.client().post("/api/auth/register", json=body)).raise_for_status()
    return [await live.log_in(username) for username in usernames]


async def save_login(accounts: SavedAccounts, url: str, person: Person) -> None:
    """Save the login of this person, as if they had logged in before."""
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
    """Run the app with its files in `folder`; with a person, as them, after it is online."""
    accounts = SavedAccounts(folder)
    if person is not None:
        url = url or person.live.url
        await save_login(accounts, url, person)
    app = ChatApp(accounts, url or None, **options)
    async with app.run_test(size=size) as pilot:
        driven = Terminal(app, pilot)
        if person is not None:
            await driven.wait_until_online()
        yield driven
