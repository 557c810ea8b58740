"""The screen on which one chats: chats at the left, the conversation and the composer at the right."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import events as ui
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message as Notice
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import Footer, Input, Static, TextArea

from blazechat.client import ChatState, Client, Message, User
from blazechat.terminal import attachment_lines, labels, notifications, sanitize, slash_commands
from blazechat.terminal.commands.dispatcher import Dispatcher
from blazechat.terminal.drafts import Drafts
from blazechat.terminal.screens.chat_loader import ChatLoader
from blazechat.terminal.screens.event_handler import EventHandler
from blazechat.terminal.transfers import Transfers
from blazechat.terminal.widgets.chat_list import ChatList, ChatFilter
from blazechat.terminal.widgets.composer import MAX_MESSAGE_CHARACTERS, COUNTER_FROM_CHARACTERS, Composer
from blazechat.terminal.widgets.message_list import MessageList
from blazechat.terminal.widgets.status_bar import activity_line, connection_line, title_line

REFRESH, BUSY_REFRESH = 0.05, 0.25
"""Seconds until what happened is shown, with what happens meanwhile; the second if much does."""
LIST_REFRESH = 0.4
QUIET, QUIET_FOR, LONGEST_WAIT = 0.05, 0.5, 0.5
"""Seconds without a key, or without anything new, and those after which it is shown all the same."""
TICK = 1.0
TYPING_EVERY = 4.0
NOTICE_LASTS = 30.0

Work = Callable[[], Awaitable[object]]


class ChatScreen(Screen[None]):
    """`unsent` keeps what was begun to be written; `calls` tells whether to ring."""

    DEFAULT_CSS = """
    ChatScreen #link { height: 1; background: $panel; color: $text; }
    ChatScreen #side { width: 30%; min-width: 20; max-width: 40; border-right: vkey $panel; }
    ChatScreen #filter { height: 1; border: none; padding: 0 1; background: $panel; }
    ChatScreen #filter:focus { border: none; background: $primary 30%; }
    ChatScreen #title { height: 1; padding: 0 1; background: $surface; text-style: bold; }
    ChatScreen #below { height: 1; padding: 0 1; color: $text-muted; }
    ChatScreen #offer { height: auto; max-height: 6; padding: 0 1; background: $panel; display: none; }
    ChatScreen #offer.-shown { display: block; }
    ChatScreen #banner { height: 1; padding: 0 1; background: $primary 30%; display: none; }
    ChatScreen #banner.-shown { display: block; }
    ChatScreen #write { height: auto; border-top: hkey $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+k", "find", "Find chat"),
        Binding("ctrl+n", "unread", "Next new"),
        Binding("ctrl+up,alt+up", "beside(-1)", "Chat above", show=False),
        Binding("ctrl+down,alt+down", "beside(1)", "Chat below", show=False),
        Binding("ctrl+end", "newest", "Newest"),
        Binding("ctrl+r", "reconnect", "Reconnect", show=False),
        Binding("f1", "help", "Help"),
        Binding("ctrl+q", "app.quit", "Quit"),
    ]

    class SessionOver(Notice):
        """One is not logged in any more; `reason` says why."""

        def __init__(self, reason: str) -> None:
            super().__init__()
            self.reason = reason

    def __init__(self, client: Client, drafts: Drafts, calls: Callable[[], bool]) -> None:
        super().__init__()
        self.client = client
        self.unsent = drafts
        self._calls = calls
        self.chat: ChatState | None = None
        self.gone_reason = ""  # why the chat that is shown is not there any more
        self.editing: Message | None = None
        self.replying: Message | None = None
        self.dispatcher = Dispatcher(self)
        self.transfers = Transfers(self.schedule_refresh, lambda: self.workers.cancel_group(self, "transfer"))
        self._event_handler = EventHandler(self, client)
        self._loader = ChatLoader(self, client)
        self._due = False
        self._due_since = self._shown_at = 0.0
        self._lines: dict[str, Text] = {}
        self._listed_at = 0.0
        self._list_is_due = False
        self._told_typing = 0.0

    def compose(self) -> ComposeResult:
        yield Static(id="link")
        with Horizontal():
            with Vertical(id="side"):
                yield ChatFilter(self._filter_keys())
                yield ChatList(self.client)
            with Vertical():
                yield Static(id="title")
                yield MessageList(self.client)
                yield Static(id="below")
                yield Static(id="offer")
                yield Static(id="banner")
                with Vertical(id="write"):
                    yield Composer(self._mentionable_users, self._submit, self._leave_composer, self._composer_keys())
        yield Footer(show_command_palette=True)

    # Parts

    @property
    def message_list(self) -> MessageList:
        return self.query_one(MessageList)

    @property
    def chat_list(self) -> ChatList:
        return self.query_one(ChatList)

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    # Beginning and end

    def on_mount(self) -> None:
        self.composer.focus()
        self.set_interval(TICK, self._tick)
        self.run_in_background(self._event_handler.listen, group="listen")
        self._show()

    def on_unmount(self) -> None:
        self.unsent.save()

    def save_draft(self) -> None:
        """What is written in the composer is kept, whatever happens next."""
        if self.chat is not None and self.editing is None and self.query(Composer):
            self.unsent.set(self.chat.id, self.composer.text)
        trouble = self.unsent.save()
        if trouble is not None:
            self.show_toast(f"What you begin to write cannot be kept: {trouble}.", severity="warning")

    # Showing it

    def schedule_refresh(self) -> None:
        """Show what has changed, together with what changes in the next moment."""
        if not self._due:
            self._due = True
            self._due_since = now = time.monotonic()
            was_quiet = now - self._shown_at > QUIET_FOR
            self.set_timer(REFRESH if was_quiet else BUSY_REFRESH, self._show_between_keys)

    def _show_between_keys(self) -> None:
        """To draw what is new takes as long as several keys: it waits for a moment between two of them."""
        now = time.monotonic()
        is_typed = self.is_mounted and now - self.composer.last_key_at < QUIET
        if is_typed and now - self._due_since < LONGEST_WAIT:
            self.set_timer(QUIET / 2, self._show_between_keys)
        else:
            self._show()

    def _show(self) -> None:
        self._due = False
        self._shown_at = time.monotonic()
        if not self.is_mounted:
            return
        self._list()
        hearing = self._event_handler
        changed, hearing.changed_ids = hearing.changed_ids, set()
        if hearing.needs_rebuild:
            hearing.needs_rebuild = False
            self.message_list.rebuild_in_place()
        elif changed:
            self.message_list.update_messages(changed)
        is_seen = hearing.has_focus and not self._loader.is_loading and self.message_list.is_at_end
        if is_seen and not self.gone_reason:
            hearing.new_below_count = 0
            self._loader.mark_read()
        self._show_lines()

    def _list(self) -> None:
        """Show the list as it is now; not so often that it takes the time of the keyboard."""
        if time.monotonic() - self._listed_at > LIST_REFRESH:
            self._listed_at = time.monotonic()
            self.chat_list.update()
        elif not self._list_is_due:
            self._list_is_due = True
            self.set_timer(LIST_REFRESH, self._list_at_last)

    def _list_at_last(self) -> None:
        self._list_is_due = False
        self._list()

    def _show_lines(self) -> None:
        client = self.client
        self._put("link", connection_line(client, self._event_handler.retry_in, self.size.width))
        self._put("title", title_line(client, self.chat, self.gone_reason))
        length = len(self.composer.text)
        if length > COUNTER_FROM_CHARACTERS:
            line = Text(f"{length:,} of {MAX_MESSAGE_CHARACTERS:,} characters", "bold" if length > MAX_MESSAGE_CHARACTERS else "")
        else:
            line = self.transfers.status_line or activity_line(client, self.chat, self._event_handler.new_below_count)
        self._put("below", line)

    def _put(self, place: str, line: Text) -> None:
        """Show a line that always takes one, so that nothing else has to move for it."""
        if self._lines.get(place) != line:
            self._lines[place] = line
            self.query_one(f"#{place}", Static).update(line, layout=False)

    def _tick(self) -> None:
        self._show_lines()
        self.message_list.check_day_change()
        self.save_draft()

    # Opening chats

    def open_chat(self, chat_id: int) -> None:
        """Show another chat."""
        chat = self.client.state.chats.get(chat_id)
        if chat is None:
            return
        if self.editing is not None and self.composer.text != self.editing.content:
            self.show_toast("Save what you are editing first (Enter), or leave it (Esc).", severity="warning")
            return
        if self.chat is None or chat.id != self.chat.id or self.gone_reason:
            self.save_draft()
            before = self.chat
            self.chat, self.gone_reason, self.editing, self.replying = chat, "", None, None
            self._event_handler.changed_ids.clear()
            self._event_handler.new_below_count = 0
            self.chat_list.open_chat_id = chat_id
            self.chat_list.highlight(chat_id)
            self.message_list.set_notice("")
            self.message_list.show_chat(chat)
            self.composer.set_text(self.unsent.get(chat_id))
            self.show_banner()
            self._loader.open(chat_id, before.id if before is not None else None)
        self.set_focus(self.composer)
        self.schedule_refresh()

    def replace_chat(self, chat: ChatState) -> None:
        """The open chat has changed, or has come again."""
        if self.chat is not chat:
            self.chat = None
            self.open_chat(chat.id)

    def mark_gone(self, why: str) -> None:
        """The chat that is open is gone. What was said stays readable, what was written is kept."""
        self.save_draft()
        self.gone_reason = why
        self.message_list.set_notice(why)
        self.show_toast(why, severity="warning", timeout=10)

    def notify_message(self, chat: ChatState, message: Message) -> None:
        """Somebody wants something of one who does not look."""
        if self._calls():
            notifications.notify(self.app, chat, message, self.client.state)

    def run_in_background(self, work: Work, *, group: str, exclusive: bool = False) -> None:
        """Do it meanwhile; an exclusive one takes the place of those of its group."""
        self.run_worker(work, group=group, exclusive=exclusive)

    def show_toast(self, text: str, severity: SeverityLevel = "information", timeout: float = 5) -> None:
        """Tell something for a moment. What it says may come from others: it is text and nothing else."""
        self.notify(sanitize.line(text), severity=severity, timeout=timeout, markup=False)

    def show_notice(self, title: str, text: str) -> None:
        """Show words that are for oneself alone, of several lines perhaps, for a while."""
        shown = "\n".join(sanitize.lines(text))
        self.notify(shown, title=sanitize.line(title), timeout=NOTICE_LASTS, markup=False)

    # What one does

    @on(MessageList.OlderNeeded)
    def _wants_older(self) -> None:
        self._loader.load_older()

    @on(ChatList.ChatSelected)
    def _chosen(self, event: ChatList.ChatSelected) -> None:
        self.query_one(ChatFilter).clear()
        self.open_chat(event.chat_id)

    @on(Input.Changed, "#filter")
    def _filter(self, event: Input.Changed) -> None:
        self.chat_list.set_filter(event.value)

    def _open_highlighted(self) -> None:
        """Open the first chat that fits, or the one that was gone to with the arrows."""
        self.chat_list.set_filter(self.query_one(ChatFilter).value)
        if self.chat_list.highlighted_id is not None:
            found = self.chat_list.highlighted_id
            self.query_one(ChatFilter).clear()
            self.open_chat(found)

    def _close_filter(self) -> None:
        self.query_one(ChatFilter).clear()
        self.set_focus(self.composer)

    @on(Composer.CandidatesChanged)
    def _show_candidates(self, event: Composer.CandidatesChanged) -> None:
        offer = self.query_one("#offer", Static)
        offer.set_class(bool(event.candidates), "-shown")
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, candidate in enumerate(event.candidates):
            text.append(f"{candidate.label}\n", "reverse" if number == event.at else "")
        text.rstrip()
        offer.update(text)

    def _submit(self, text: str) -> bool:
        """Send what was written, or do it; whether it was taken."""
        if self.editing is not None:  # whatever it begins with, it is that message
            return self._send(text)
        command = slash_commands.parse(text)
        if command is not None:
            self.composer.add_to_history(text)
            self.dispatcher.run(*command, typed=text)
            return True
        return self._send(text[1:] if text.startswith("//") else text, typed=text)

    def _send(self, text: str, typed: str = "") -> bool:
        if not text.strip():
            return False
        if len(text) > MAX_MESSAGE_CHARACTERS:
            self.show_toast(
                f"A message has at most {MAX_MESSAGE_CHARACTERS:,} characters; this has {len(text):,}. Nothing was sent.",
                severity="error",
            )
            return False
        if self.editing is not None:
            self.dispatcher.save_edit(self.editing, text)
            return False
        if self.chat is None or self.gone_reason:
            self.show_toast(f"{self.gone_reason or 'No chat is open.'} What you wrote is still here.", severity="error")
            return False
        reply_to = self.replying.id if self.replying is not None else None
        self.client.enqueue(self.chat.id, text, reply_to=reply_to)
        self.composer.add_to_history(typed)
        self.replying = None
        self.unsent.set(self.chat.id, "")
        self._told_typing = 0.0
        self.show_banner()
        self.message_list.clear_unread_mark()
        self.message_list.action_newest()
        return True

    @on(TextArea.Changed, "#composer")
    def _writes(self, event: TextArea.Changed) -> None:
        text = event.text_area.text
        is_news = self.chat is not None and text != self.unsent.get(self.chat.id)
        if is_news and self.editing is None and self.chat is not None:
            self.unsent.set(self.chat.id, text)
        if len(text) > COUNTER_FROM_CHARACTERS:
            self._show_lines()
        if not text or text.startswith("/") or self.chat is None or self.gone_reason or self.editing is not None:
            return
        now = time.monotonic()
        if is_news and now - self._told_typing > TYPING_EVERY:
            self._told_typing = now
            self.run_in_background(partial(self.client.set_typing, self.chat.id), group="typing")

    def _leave_composer(self) -> None:
        if self.editing is not None or self.replying is not None:
            self.cancel_edit()
        else:
            self.set_focus(self.message_list)
            if self.message_list.selected is None:
                self.message_list.action_select(0)

    @on(MessageList.ActionRequested)
    def _act(self, event: MessageList.ActionRequested) -> None:
        self.dispatcher.act(event.action, event.target)

    @on(MessageList.Scrolled)
    def _moved(self) -> None:
        if self.message_list.is_at_end:
            self.schedule_refresh()

    def edit(self, message: Message) -> None:
        """Have one's own message in the composer, to change it."""
        self.save_draft()
        self.editing, self.replying = message, None
        self.composer.set_text(message.content)
        self.set_focus(self.composer)
        self.show_banner()

    def reply(self, message: Message) -> None:
        self.cancel_edit()
        self.replying = message
        self.set_focus(self.composer)
        self.show_banner()

    def append_text(self, text: str) -> None:
        """Have more to write on; what is written already comes first."""
        self.cancel_edit()
        written = self.composer.text
        self.composer.set_text(f"{written}\n{text}" if written.strip() else text)
        self.set_focus(self.composer)

    def cancel_edit(self) -> None:
        """Back to what one was about to write."""
        if self.editing is not None and self.chat is not None:
            self.editing = None
            self.composer.set_text(self.unsent.get(self.chat.id))
        self.editing = self.replying = None
        self.show_banner()

    def show_banner(self) -> None:
        banner = self.query_one("#banner", Static)
        about = self.editing or self.replying
        banner.set_class(about is not None, "-shown")
        if about is not None:
            author = labels.of_author(about, self.client.state)
            what = "Editing" if self.editing is not None else f"Replying to {author}"
            said = sanitize.line(" ".join(attachment_lines.summary(about).split()))
            text = Text(f"{what}: {said}", no_wrap=True, overflow="ellipsis")
            text.truncate(max(20, self.message_list.size.width - 20), overflow="ellipsis")
            text.append("  Esc cancels", "dim")
            banner.update(text)

    # Keys

    def on_key(self, event: ui.Key) -> None:
        if event.key == "escape":
            self.message_list.unselect()
            self._close_filter()

    def action_find(self) -> None:
        self.set_focus(self.query_one(ChatFilter))

    def action_unread(self) -> None:
        self._open_or_explain(self.chat_list.neighbour(1, unread=True), "There is nothing new.")

    def action_beside(self, by: int) -> None:
        self._open_or_explain(self.chat_list.neighbour(by), "There are no chats yet: /dm @user begins one.")

    def _open_or_explain(self, chat_id: int | None, otherwise: str) -> None:
        if chat_id is None:
            self.show_toast(otherwise)
        else:
            self.open_chat(chat_id)

    def action_page(self, by: int) -> None:
        step = max(1, self.message_list.size.height - 2)
        self.message_list.scroll_relative(y=by * step, animate=False)

    def action_newest(self) -> None:
        self.message_list.action_newest()
        self.schedule_refresh()

    def action_reconnect(self) -> None:
        self.client.reconnect()

    def action_help(self) -> None:
        self.dispatcher.run("help")

    def set_terminal_focus(self, has_focus: bool) -> None:
        """One looks at this terminal, or elsewhere."""
        self._event_handler.has_focus = has_focus
        self.schedule_refresh()

    def _composer_keys(self) -> dict[str, Callable[[], None]]:
        """What keys do while one writes."""
        return {
            "ctrl+up": lambda: self.action_beside(-1),
            "alt+up": lambda: self.action_beside(-1),
            "ctrl+down": lambda: self.action_beside(1),
            "alt+down": lambda: self.action_beside(1),
            "ctrl+n": self.action_unread,
            "ctrl+k": self.action_find,
            "pageup": lambda: self.action_page(-1),
            "pagedown": lambda: self.action_page(1),
            "ctrl+end": self.action_newest,
        }

    def _filter_keys(self) -> dict[str, Callable[[], None]]:
        return {
            "enter": self._open_highlighted,
            "escape": self._close_filter,
            "up": lambda: self.chat_list.action_move(-1),
            "down": lambda: self.chat_list.action_move(1),
        }

    def _mentionable_users(self) -> list[User]:
        return list(self.chat.other_members) if self.chat is not None else []
