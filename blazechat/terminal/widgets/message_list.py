"""The messages of the chat that is open: drawn by the line, anchored while older ones come above."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import ClassVar

from rich.color import Color
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message as Notice
from textual.strip import Strip

from blazechat.client import ChatState, Client, Message, PendingMessage
from blazechat.terminal import labels
from blazechat.terminal.widgets import message_blocks
from blazechat.terminal.widgets.message_blocks import Block, RenderContext
from blazechat.terminal.widgets.strips import LineView

ON_DARK = ("#7aa2f7", "#9ece6a", "#e0af68", "#bb9af7", "#7dcfff", "#f7768e", "#73daca", "#ff9e64")
ON_LIGHT = ("#2e5cb8", "#3a6b00", "#8a5a00", "#7a3fb0", "#00708a", "#b3244a", "#00725e", "#a34600")


class MessageList(LineView, can_focus=True):
    """Shows one chat. It tells when older messages are wanted, and which message is chosen."""

    DEFAULT_CSS = """
    MessageList { width: 1fr; height: 1fr; overflow: hidden scroll; scrollbar-size-vertical: 1; }
    MessageList > .text { color: $foreground; background: $background; }
    MessageList > .selected { background: $primary 25%; }
    MessageList > .quiet { color: $text-muted; }
    MessageList > .day { color: $text-muted; }
    MessageList > .new { color: $text-error; text-style: bold; }
    MessageList > .pending { color: $text-muted; text-style: italic; }
    MessageList > .failed { color: $text-error; }
    MessageList > .mention { color: $text-warning; text-style: bold; }
    MessageList > .reaction { color: $text-secondary; }
    MessageList > .file { color: $text-accent; }
    MessageList > .own { color: $text-accent; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("text", "selected", "quiet", "day", "new", "pending"),
        *("failed", "mention", "reaction", "own", "file"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "select(-1)", "Select", show=False),
        Binding("down,j", "select(1)", "Select", show=False),
        Binding("r", "act('reply')", "Reply"),
        Binding("e", "act('edit')", "Edit"),
        Binding("d,delete", "act('delete')", "Delete"),
        Binding("plus", "act('react')", "React"),
        Binding("p", "act('pin')", "Pin"),
        Binding("c", "act('copy')", "Copy"),
        Binding("o", "act('open')", "Open", show=False),
        Binding("s", "act('save')", "Save", show=False),
        Binding("enter", "act('follow')", "Go to", show=False),
        Binding("home,g", "oldest", "Oldest", show=False),
        Binding("end,G", "newest", "Newest", show=False),
    ]

    class OlderNeeded(Notice):
        """One has scrolled to where more has to be loaded."""

    class ActionRequested(Notice):
        """Something shall be done with a message, or with a draft."""

        def __init__(self, action: str, target: Message | PendingMessage) -> None:
            super().__init__()
            self.action = action
            self.target = target

    class Scrolled(Notice):
        """Other lines are seen now."""

    def __init__(self, client: Client) -> None:
        super().__init__(id="conversation")
        self.chat: ChatState | None = None
        self.notice = ""
        self._client = client
        self._look: RenderContext | None = None
        self._ids: list[int] = []
        self._shown: dict[int, Message] = {}
        self._blocks: list[Block] = []
        self._tail: list[Block] = []
        self._drafts: list[PendingMessage] = []
        self._head = message_blocks.for_notice("")
        self._tops: list[int] = []
        self._first_unread: int | None = None
        self._cursors: dict[int, int] = {}
        self._selected_key: int | str | None = None  # a message's id, or a draft's client_id
        self._follows_end = True  # whether what is new moves the view; not while one has scrolled up
        self._is_moving = False
        self._padding = 0  # empty lines above a conversation that does not fill the view

    # What is shown

    def show_chat(self, chat: ChatState | None) -> None:
        """Another chat, from its first unread message on; or none."""
        self.chat = chat
        self._selected_key = None
        self._follows_end = True
        self._first_unread = None
        if chat is not None and chat.unread:
            self._first_unread = chat.read_id + 1
        self.rebuild()
        self._scroll_to_end()

    def rebuild(self) -> None:
        """Take everything from the state anew."""
        self._ids, self._shown, self._blocks, self._tops = [], {}, [], []
        self._cursors = dict(self.chat.read_cursors) if self.chat else {}
        for message in self.chat.ordered_messages() if self.chat else []:
            self._append(message)
        self.update_pending()

    def update_messages(self, changed: set[int]) -> None:
        """These messages are new, or are not as they were."""
        if self.chat is None:
            return
        anchor = None if self._follows_end else self._anchor()
        quoting = {each.id for each in self._shown.values() if each.reply_to in changed}
        for message_id in sorted(changed | quoting):
            message = self.chat.messages.get(message_id)
            if message is None:
                continue
            at = bisect_left(self._ids, message_id)
            if at < len(self._ids) and self._ids[at] == message_id:
                self._shown[message_id] = message
                self._blocks[at] = self._block(at)
                self._measure(at)
            elif at == len(self._ids):
                self._append(message)
            else:
                self.rebuild()
                break
        self._update_height()
        self._scroll_to_anchor(anchor)

    def update_pending(self) -> None:
        """What is on its way, below what is stored."""
        self._drafts = []
        if self.chat is not None:
            drafts = self._client.outbox.for_chat(self.chat.id)
            self._drafts = [draft for draft in drafts if draft.message_id not in self._shown]
            self._tail = [message_blocks.for_pending(self.chat, draft) for draft in self._drafts]
        self._update_height()

    def update_read_marks(self) -> None:
        """Others have read further."""
        if self.chat is None:
            return
        before, self._cursors = self._cursors, dict(self.chat.read_cursors)
        for at in range(len(self._ids) - 1, -1, -1):
            message = self._shown[self._ids[at]]
            if message.id <= min(before.values(), default=0):
                break
            if message.user_id == self.chat.my_id and message_blocks.read_mark_changed(
                self.chat, message, before
            ):
                self._blocks[at] = self._block(at)
        self.refresh()

    def show_first_page(self) -> None:
        """The newest page has come: stand where what is new begins."""
        self.rebuild()
        self._scroll_to_end()
        look = self._looking()
        if self._first_unread is None or look is None:
            self._request_older()
            return
        at = bisect_left(self._ids, self._first_unread)
        if at < len(self._ids) and self._ids[at] == self._first_unread:
            top, _ = self._tops_and_height(at)
            if top < self.max_scroll_y:
                self._follows_end = False
                self._move_to(top)
        self._request_older()

    def check_day_change(self) -> None:
        """After midnight, today is yesterday."""
        if self._look is not None and labels.day(self._look.now, self._client.server_time) != "Today":
            self._look = None
            self.rebuild()

    def rebuild_in_place(self) -> None:
        """Older messages were loaded: what one reads stays where it is."""
        if self.chat is None:
            return
        anchor = None if self._follows_end else self._anchor()
        self.rebuild()
        self._scroll_to_anchor(anchor)
        self._request_older()

    def set_notice(self, text: str) -> None:
        """The line above the first message."""
        if text != self.notice:
            self.notice = text
            self._head = message_blocks.for_notice(text)
            self.refresh()

    def clear_unread_mark(self) -> None:
        if self._first_unread is not None:
            self._first_unread = None
            self.rebuild()

    @property
    def is_at_end(self) -> bool:
        """Whether the newest message can be seen."""
        return self.scroll_offset.y >= self.max_scroll_y

    @property
    def selected(self) -> Message | PendingMessage | None:
        """The message or the draft that is selected."""
        if isinstance(self._selected_key, int):
            return self._shown.get(self._selected_key)
        return next((draft for draft in self._drafts if draft.client_id == self._selected_key), None)

    # Choosing and moving

    def action_select(self, by: int) -> None:
        keys: list[int | str] = [*self._ids, *(draft.client_id for draft in self._drafts)]
        if not keys:
            return
        if self._selected_key in keys:
            at = min(max(keys.index(self._selected_key) + by, 0), len(keys) - 1)
        else:
            at = self._block_at(self.scroll_offset.y + self.size.height - 1)
        if at == 0 and by < 0:
            self.scroll_to(y=0, animate=False)
        self._select_block(keys[at], at)

    def action_act(self, action: str) -> None:
        if self.selected is None:
            self.action_select(0)
        if self.selected is not None:
            self.post_message(self.ActionRequested(action, self.selected))

    def action_oldest(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_newest(self) -> None:
        self.unselect()
        self._scroll_to_end()

    def unselect(self) -> None:
        self._selected_key = None
        self.refresh()

    def select_message(self, message_id: int) -> bool:
        """Select a message that is loaded."""
        at = bisect_left(self._ids, message_id)
        if at == len(self._ids) or self._ids[at] != message_id:
            return False
        self._select_block(message_id, at)
        return True

    def _select_block(self, key: int | str, at: int) -> None:
        self._selected_key = key
        top, height = self._tops_and_height(at)
        view = self.scroll_offset.y
        if top < view:
            self._follows_end = False
            self._move_to(top)
        elif top + height > view + self.size.height:
            self._move_to(top + height - self.size.height)
        self._follows_end = self.is_at_end
        self.refresh()

    # Lines

    def render_line(self, y: int) -> Strip:
        look = self._looking()
        if look is None:
            return Strip.blank(self._width, self.rich_style)
        line = y + self.scroll_offset.y - self._padding
        if line < 0:
            return Strip.blank(look.width, look.styles["text"])
        if line == 0:
            return self._head.strips(look, False)[0]
        at = self._block_at(line + self._padding)
        block, key = self._block_and_key(at)
        if block is None:
            return Strip.blank(look.width, look.styles["text"])
        top, _ = self._tops_and_height(at)
        strips = block.strips(look, key == self._selected_key and key is not None)
        inside = line + self._padding - top
        if inside >= len(strips):
            return Strip.blank(look.width, look.styles["text"])
        return strips[inside]

    def on_resize(self, event: events.Resize) -> None:
        anchor = None if self._follows_end else self._anchor()
        self._look = None
        self._measure(0)
        self._update_height()
        self._scroll_to_anchor(anchor)
        self._request_older()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._look = None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        # A view that gets higher is moved up to its end by Textual: that is not scrolling.
        if not self._is_moving and (new_value > old_value) == self.is_at_end:
            self._follows_end = self.is_at_end
        self._request_older()
        self.post_message(self.Scrolled())

    def on_click(self, event: events.Click) -> None:
        if event.y + self.scroll_offset.y <= self._padding:
            return
        at = self._block_at(event.y + self.scroll_offset.y)
        _, key = self._block_and_key(at)
        if key is not None:
            self._selected_key = key
            self.refresh()

    # How it is kept

    @property
    def _width(self) -> int:
        """Columns beside the scrollbar."""
        return self.scrollable_content_region.width

    @property
    def _total(self) -> int:
        look = self._looking()
        if look is None:
            return 0
        end = self._tops[-1] + self._blocks[-1].height(look) if self._blocks else 1
        return end + sum(block.height(look) for block in self._tail)

    def _looking(self) -> RenderContext | None:
        if self._look is None and self._width > 0:
            names = self.COMPONENT_CLASSES
            colours = ON_DARK if self.app.current_theme.dark else ON_LIGHT
            self._look = RenderContext(
                self._width,
                {name: self._style(name) for name in names},
                [Style(color=Color.parse(colour), bold=True) for colour in colours],
                self.app.console,
                self._client.state,
                self._client.server_time,
            )
        return self._look

    def _style(self, name: str) -> Style:
        style = self.get_component_rich_style(name)
        if name in ("text", "selected"):
            return style
        return Style(color=style.color, bold=style.bold, italic=style.italic)  # on either background

    def _append(self, message: Message) -> None:
        self._ids.append(message.id)
        self._shown[message.id] = message
        self._blocks.append(self._block(len(self._ids) - 1))
        self._measure(len(self._blocks) - 1)

    def _block(self, at: int) -> Block:
        assert self.chat is not None
        before = self._shown[self._ids[at - 1]] if at else None
        return message_blocks.for_message(self.chat, self._shown[self._ids[at]], before, self._first_unread)

    def _measure(self, start: int) -> None:
        """Say at which line each block begins, from the one at `start` on."""
        look = self._looking()
        if look is None:
            return
        del self._tops[start:]
        top = self._tops[-1] + self._blocks[start - 1].height(look) if start and self._tops else 1
        for block in self._blocks[len(self._tops) :]:
            self._tops.append(top)
            top += block.height(look)

    def _update_height(self) -> None:
        if len(self._tops) != len(self._blocks):
            self._measure(0)
        total = self._total
        self._padding = max(0, self.size.height - total)
        self.set_line_count(total)
        if self._follows_end:
            self._scroll_to_end()

    def _scroll_to_end(self) -> None:
        self._follows_end = True
        self._move_to(self.max_scroll_y)

    def _request_older(self) -> None:
        """Where one is near the top, older messages are wanted."""
        if self.scroll_y <= self.size.height and self.chat is not None and not self.chat.has_all_messages:
            self.post_message(self.OlderNeeded())

    def _move_to(self, line: int) -> None:
        self._is_moving = True
        self.scroll_to(y=line, animate=False, immediate=True, force=True)
        self._is_moving = False

    def _block_at(self, line: int) -> int:
        """The number of the block on a line of the whole conversation; drafts come after messages."""
        look = self._looking()
        line -= self._padding
        if look is None or (not self._blocks and not self._tail):
            return 0
        end = self._tops[-1] + self._blocks[-1].height(look) if self._blocks else 1
        if line < end:
            return max(0, bisect_right(self._tops, line) - 1)
        at = len(self._blocks)
        for block in self._tail:
            end += block.height(look)
            if line < end:
                return at
            at += 1
        return max(0, at - 1)

    def _tops_and_height(self, at: int) -> tuple[int, int]:
        """On which line a block begins, with the padding, and how many it takes."""
        look = self._looking()
        if look is None or at >= len(self._blocks) + len(self._tail):
            return 0, 0
        if at < len(self._blocks):
            return self._tops[at] + self._padding, self._blocks[at].height(look)
        top = self._tops[-1] + self._blocks[-1].height(look) if self._blocks else 1
        tail = at - len(self._blocks)
        top += sum(block.height(look) for block in self._tail[:tail])
        return top + self._padding, self._tail[tail].height(look)

    def _block_and_key(self, at: int) -> tuple[Block | None, int | str | None]:
        if at < len(self._blocks):
            return self._blocks[at], self._ids[at]
        at -= len(self._blocks)
        if at < len(self._tail):
            return self._tail[at], self._drafts[at].client_id
        return None, None

    def _anchor(self) -> "Anchor | None":
        """What is at the top of the view, to come back to."""
        if not self._ids:
            return None
        at = min(self._block_at(self.scroll_offset.y), len(self._ids) - 1)
        top, _ = self._tops_and_height(at)
        return Anchor(self._ids[at], self.scroll_offset.y - top)

    def _scroll_to_anchor(self, anchor: "Anchor | None") -> None:
        if anchor is None:
            return
        at = bisect_left(self._ids, anchor.message_id)
        if at < len(self._ids):
            top, _ = self._tops_and_height(at)
            self._move_to(top + anchor.lines_above)


@dataclass(frozen=True)
class Anchor:
    """A message, and how many of its lines are above the view."""

    message_id: int
    lines_above: int
