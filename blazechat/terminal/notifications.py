"""Notifies a user who works in another window: by the terminal's bell and its desktop notifications."""

from textual.app import App

from blazechat.client import ChatState, Message, State
from blazechat.terminal import attachment_lines, labels
from blazechat.terminal.mentions import has_mention

MAX_TEXT_CHARACTERS = 120


def should_notify(chat: ChatState, message: Message, state: State) -> bool:
    """Return True for a message of another user in a direct chat, or with a mention of this user."""
    if message.user_id == state.my_id or message.deleted_at is not None:
        return False
    return not chat.is_group or has_mention(message.content, state.me.username if state.me else "")


def notify(app: App[object], chat: ChatState, message: Message, state: State) -> None:
    """Ring the bell and send the message as OSC 9 and OSC 777, which terminals without support ignore."""
    app.bell()
    author = labels.of_author(message, state)
    place = f" in {labels.of_chat(chat, chat.my_id)}" if chat.is_group else ""
    content = attachment_lines.summary_line(message)[:MAX_TEXT_CHARACTERS]
    text = f"{author}{place}: {content}".replace(";", ",")
    driver = app._driver  # Textual has no public way to write a sequence that it does not know
    if driver is not None and not app.is_headless:
        driver.write(f"\x1b]9;{text}\x07")
        driver.write(f"\x1b]777;notify;BlazeChat;{text}\x07")
