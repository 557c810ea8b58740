"""Calling somebody who is elsewhere: a bell, and a notification by the terminal where it has such."""

import re

from textual.app import App

from blazechat.client import ChatState, Message, State
from blazechat.terminal import attachment_lines, labels, sanitize

MAX_TEXT_CHARACTERS = 120


def should_notify(chat: ChatState, message: Message, state: State) -> bool:
    """Whether a message is for oneself: in a direct chat, or by name."""
    if message.user_id == state.my_id or message.deleted_at is not None:
        return False
    return not chat.is_group or mentions(message.content, state.me.username if state.me else "")


def mentions(content: str, username: str) -> bool:
    return (
        bool(username)
        and re.search(rf"(?<!\w)@{re.escape(username)}(?!\w)", content, re.IGNORECASE) is not None
    )


def notify(app: App[None], chat: ChatState, message: Message, state: State) -> None:
    """Ring the bell, and say who it is (OSC 9 and OSC 777, which other terminals pass over)."""
    app.bell()
    who = labels.of_author(message, state)
    where = f" in {labels.of_chat(chat, chat.my_id)}" if chat.is_group else ""
    said = sanitize.line(" ".join(attachment_lines.summary(message).split()))[:MAX_TEXT_CHARACTERS]
    text = f"{who}{where}: {said}".replace(";", ",")
    driver = app._driver  # there is no public way to write what Textual has no name for
    if driver is not None and not app.is_headless:
        driver.write(f"\x1b]9;{text}\x07")
        driver.write(f"\x1b]777;notify;BlazeChat;{text}\x07")
