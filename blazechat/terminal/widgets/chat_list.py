"""The list of chats, most recently active first, two lines per chat. Only visible lines are drawn."""

from datetime import datetime
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message as TextualMessage
from textual.strip import Strip
from textual.widgets import Input

from blazechat.client import ChatState, Client, Message, SendState, Status
from blazechat.terminal import attachment_lines, labels, sanitize
from blazechat.terminal.deletions import Deletions
from blazechat.terminal.drafts import Drafts
from blazechat.terminal.unread_mentions import UnreadMentions
from blazechat.terminal.widgets.key_order import KeyActions, KeyOrder, ListKeys, TakeText
from blazechat.terminal.widgets.strips import LineView, strip_of

LINES_PER_CHAT = 2
MAX_SNIPPET_CHARACTERS = 200
PRESENCE_DOTS = {Status.ONLINE: "●", Status.AWAY: "◐", Status.OFFLINE: "○"}


class ChatFilter(KeyOrder, Input):
    """The input field that filters the list of chats."""

    def __init__(self, keys: KeyActions) -> None:
        super().__init__(placeholder="Find a chat (Ctrl+K)", id="filter", select_on_focus=False)
        self.key_actions = keys

    def _on_paste(self, event: events.Paste) -> None:
        event.text = sanitize.line(sanitize.for_input(event.text))


class ChatList(ListKeys, LineView, can_focus=True):
    """The list of chats. The cursor highlights one of them.

    `open_chat_id` is the id of the chat that the screen shows.
    """

    DEFAULT_CSS = """
    ChatList { width: 1fr; height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    ChatList > .text { color: $foreground; background: $surface; }
    ChatList > .current { background: $primary 35%; color: $foreground; text-style: bold; }
    ChatList > .cursor { background: $primary 15%; }
    ChatList > .quiet { color: $text-muted; }
    ChatList > .unread { color: $text-accent; text-style: bold; }
    ChatList > .mention { color: $text-warning; text-style: bold reverse; }
    ChatList > .draft { color: $text-warning; }
    ChatList > .online { color: $text-success; }
    ChatList > .away { color: $text-warning; }
    ChatList > .failed { color: $text-error; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("text", "current", "cursor", "quiet", "unread", "mention", "draft", "online", "away", "failed"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move(-10)", "Up", show=False),
        Binding("pagedown", "move(10)", "Down", show=False),
        Binding("home", "move(-1000000)", "First", show=False),
        Binding("end", "move(1000000)", "Last", show=False),
        Binding("enter", "select", "Open"),
    ]

    class ChatSelected(TextualMessage):
        """The user selected a chat to open."""

        def __init__(self, chat_id: int) -> None:
            super().__init__()
            self.chat_id = chat_id

    def __init__(
        self, client: Client, drafts: Drafts, deletions: Deletions, keys: KeyActions, take_text: TakeText
    ) -> None:
        super().__init__(id="chats")
        self.key_actions = keys
        self.take_text = take_text
        self._deletions = deletions
        self.open_chat_id: int | None = None
        self.chats: list[ChatState] = []
        self._client = client
        self._drafts = drafts
        self.mentions = UnreadMentions(client)
        self._filter = ""
        self._cursor = 0
        self._styles: dict[str, Style] = {}

    # Content

    def update(self) -> None:
        """Read the chats from the client's state. The cursor stays on its chat."""
        highlighted_id = self.highlighted_id
        chats = self._client.state.chats_by_activity()
        if self._filter:
            matching = [chat for chat in chats if self._matches(chat)]
            chats = sorted(matching, key=lambda chat: not self._label_matches(chat))
        self.chats = chats
        ids = [chat.id for chat in chats]
        if highlighted_id in ids:
            self._cursor = ids.index(highlighted_id)
        else:
            self._cursor = min(self._cursor, max(0, len(ids) - 1))
        self.set_line_count(len(chats) * LINES_PER_CHAT)

    def set_filter(self, text: str) -> None:
        """List only the chats with all these words in their label or in their members' names.

        Chats whose label has all of them come first.
        """
        if text.casefold().strip() == self._filter:
            return
        self._filter = text.casefold().strip()
        self._cursor, self.chats = 0, []  # the cursor moves to the first match
        self.update()

    def neighbour(self, step: int, *, unread: bool = False) -> int | None:
        """Return the id of the chat `step` places below the open one, around the end of the list.

        With `unread`, return the id of the next chat with unread messages. None if there is no such chat.
        """
        ids = [chat.id for chat in self.chats]
        if not ids:
            return None
        start = ids.index(self.open_chat_id) if self.open_chat_id in ids else -1 if step > 0 else 0
        for distance in range(1, len(ids) + 1):
            chat = self.chats[(start + step * distance) % len(ids)]
            if not unread or chat.unread:
                return chat.id
        return None

    def highlight(self, chat_id: int) -> None:
        """Move the cursor to a chat and scroll to it."""
        ids = [chat.id for chat in self.chats]
        if chat_id in ids:
            self._cursor = ids.index(chat_id)
            self.action_move(0)

    @property
    def highlighted_id(self) -> int | None:
        """The id of the chat under the cursor; None if the list is empty."""
        return self.chats[self._cursor].id if self._cursor < len(self.chats) else None

    def action_move(self, step: int) -> None:
        self._cursor = min(max(self._cursor + step, 0), max(0, len(self.chats) - 1))
        top = self._cursor * LINES_PER_CHAT
        if top < self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, immediate=True)
        elif top + LINES_PER_CHAT > self.scroll_offset.y + self.size.height:
            self.scroll_to(y=top + LINES_PER_CHAT - self.size.height, animate=False, immediate=True)
        self.refresh()

    def action_select(self) -> None:
        if self.highlighted_id is not None:
            self.post_message(self.ChatSelected(self.highlighted_id))

    def on_click(self, event: events.Click) -> None:
        index = (event.y + self.scroll_offset.y) // LINES_PER_CHAT
        if index < len(self.chats):
            self._cursor = index
            self.action_select()

    def on_resize(self) -> None:
        self.update()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = {}

    def _matches(self, chat: ChatState) -> bool:
        names = " ".join(f"{m.display_name} {m.username}" for m in chat.other_members)
        text = f"{labels.of_chat(chat, chat.my_id)} {names}".casefold()
        return all(word in text for word in self._filter.split())

    def _label_matches(self, chat: ChatState) -> bool:
        label = labels.of_chat(chat, chat.my_id).casefold()
        return all(word in label for word in self._filter.split())

    # Drawing

    def render_line(self, y: int) -> Strip:
        index, line = divmod(y + self.scroll_offset.y, LINES_PER_CHAT)
        width = self.scrollable_content_region.width
        styles = self._row_styles()
        if index >= len(self.chats):
            text = Text("")
            if not self.chats and y == 0:
                text = Text(" no chat matches" if self._filter else " no chats yet", styles["quiet"])
            return self._strip(text, width, styles["text"])
        chat = self.chats[index]
        base = styles["text"]
        if chat.id == self.open_chat_id:
            base += styles["current"]
        elif index == self._cursor and (self.has_focus or self._filter):
            base += styles["cursor"]
        now = self._client.server_time
        text = self._title(chat, width, now) if line == 0 else self._snippet(chat, width)
        return self._strip(text, width, base)

    def _strip(self, text: Text, width: int, base: Style) -> Strip:
        text.no_wrap = True
        return strip_of(text, self.app.console, width, base)

    def _title(self, chat: ChatState, width: int, now: datetime) -> Text:
        styles = self._row_styles()
        when = labels.short_time(chat.last_activity_at, now)
        line = Text(" ")
        if not chat.is_group and chat.other_members:
            presence = self._client.state.presence.get(chat.other_members[0].id)
            status = presence.status if presence else Status.OFFLINE
            style = {Status.ONLINE: "online", Status.AWAY: "away"}.get(status, "quiet")
            line.append(f"{PRESENCE_DOTS[status]} ", styles[style])
        else:
            line.append("# ", styles["quiet"])
        line.append(labels.of_chat(chat, chat.my_id))
        line.truncate(width - len(when) - 2, overflow="ellipsis", pad=True)
        line.append(f" {when}", styles["quiet"])
        return line

    def _snippet(self, chat: ChatState, width: int) -> Text:
        styles = self._row_styles()
        pending = self._client.outbox.for_chat(chat.id)
        badges = self._badges(chat)
        line = Text("   ", styles["quiet"])
        if any(message.state is SendState.FAILED for message in pending):
            line.append("not sent ", styles["failed"])
        draft = self._drafts.get(chat.id) if chat.id != self.open_chat_id else ""
        if draft:
            line.append("Draft: ", styles["draft"])
            line.append(sanitize.line(" ".join(draft[:MAX_SNIPPET_CHARACTERS].split())))
        else:
            line.append(self._snippet_text(chat, chat.last_message))
        line.truncate(max(0, width - badges.cell_len), overflow="ellipsis", pad=True)
        return line.append_text(badges)

    def _badges(self, chat: ChatState) -> Text:
        """Return the number of unread mentions, such as `@2`, and of all unread messages."""
        styles, mentions = self._row_styles(), self.mentions.count(chat)
        badges = Text(" ")
        if mentions:
            badges.append(f"@{min(mentions, 99)}", styles["mention"]).append(" ")
        if chat.unread:
            badges.append(f"{min(chat.unread, 999)} ", styles["unread"])
        return badges

    def _snippet_text(self, chat: ChatState, message: Message | None) -> str:
        if message is None:
            return "no messages yet" if not chat.last_message_id else ""
        if self._deletions.is_deleted(message):
            return "message deleted"
        content = attachment_lines.summary(message)[:MAX_SNIPPET_CHARACTERS]
        text = sanitize.line(" ".join(content.split()))
        if message.user_id == chat.my_id:
            return f"You: {text}"
        return f"{labels.of_author(message, self._client.state)}: {text}" if chat.is_group else text

    def _row_styles(self) -> dict[str, Style]:
        if not self._styles:
            for name in self.COMPONENT_CLASSES:
                style = self.get_component_rich_style(name)
                if name not in ("text", "current", "cursor"):
                    style = Style(color=style.color, bold=style.bold, reverse=style.reverse)
                self._styles[name] = style
        return self._styles
