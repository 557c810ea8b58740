"""The chat screen: the list of chats at the left, the messages and the composer at the right."""

from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message as TextualMessage
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import Footer, Input, Static, TextArea

from blazechat.client import ChatState, Client, Message
from blazechat.terminal import notifications, sanitize, slash_commands
from blazechat.terminal.commands.account import theme_names
from blazechat.terminal.commands.dispatcher import Dispatcher
from blazechat.terminal.commands.view import AppActions, Work
from blazechat.terminal.deletions import Deletions
from blazechat.terminal.drafts import Drafts
from blazechat.terminal.screens.chat_loader import ChatLoader
from blazechat.terminal.screens.dialogs import NoticesDialog
from blazechat.terminal.screens.event_handler import EventHandler
from blazechat.terminal.screens.first_steps import FirstSteps
from blazechat.terminal.screens.message_entry import MessageEntry
from blazechat.terminal.screens.navigation import Navigation
from blazechat.terminal.screens.redraw import Redraw
from blazechat.terminal.transfers import Transfers
from blazechat.terminal.user_directory import UserDirectory
from blazechat.terminal.widgets.candidate_list import CandidateList
from blazechat.terminal.widgets.chat_list import ChatFilter, ChatList
from blazechat.terminal.widgets.completion import Sources
from blazechat.terminal.widgets.composer import Composer
from blazechat.terminal.widgets.message_list import MessageList
from blazechat.terminal.widgets.notice_line import NoticeLine
from blazechat.terminal.widgets.response_panel import ResponsePanel
from blazechat.terminal.widgets.welcome import Welcome

TICK_SECONDS = 1.0


class ChatScreen(Screen[None]):
    """Implements `commands.view.ChatView`. `drafts` are those of the client's account."""

    DEFAULT_CSS = """
    ChatScreen #connection { height: 1; background: $panel; color: $text; }
    ChatScreen #side { width: 30%; min-width: 20; max-width: 40; border-right: vkey $panel; }
    ChatScreen #filter { height: 1; border: none; padding: 0 1; background: $panel; }
    ChatScreen #filter:focus { border: none; background: $primary 30%; }
    ChatScreen #conversation { height: 1fr; }
    ChatScreen #title { height: 1; padding: 0 1; background: $surface; text-style: bold; }
    ChatScreen #title.-active { background: $primary; color: $text; }
    ChatScreen #conversation:focus-within #title { background: $primary; color: $text; }
    ChatScreen #conversation.-welcome MessageList { display: none; }
    ChatScreen #activity { height: 1; padding: 0 1; color: $text-muted; }
    ChatScreen #banner { height: 1; padding: 0 1; background: $primary 30%; display: none; }
    ChatScreen #banner.-shown { display: block; }
    ChatScreen #entry { height: auto; }
    ChatScreen NoticeLine.-active { color: $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+k", "find", "Find chat"),
        Binding("ctrl+n", "next_unread", "Next new"),
        Binding("ctrl+up,alt+up", "neighbour(-1)", "Chat above", show=False),
        Binding("ctrl+down,alt+down", "neighbour(1)", "Chat below", show=False),
        Binding("ctrl+end", "newest", "Newest"),
        Binding("ctrl+r", "reconnect", "Reconnect", show=False),
        Binding("f1", "help", "Help"),
        Binding("f2", "notices", "Notices", show=False),
        Binding("ctrl+q", "app.quit", "Quit"),
    ]

    class SessionOver(TextualMessage):
        """The session has ended. `reason` is a sentence for the user."""

        def __init__(self, reason: str) -> None:
            super().__init__()
            self.reason = reason

    def __init__(
        self, client: Client, drafts: Drafts, deletions: Deletions, app_actions: AppActions
    ) -> None:
        super().__init__()
        self.client = client
        self.deletions = deletions
        self.app_actions = app_actions
        self.chat: ChatState | None = None
        self.gone_reason = ""
        self.transfers = Transfers(
            self.schedule_refresh, lambda: self.workers.cancel_group(self, "transfer")
        )
        self.dispatcher = Dispatcher(self)
        self.entry = MessageEntry(self, drafts, self.dispatcher)
        self._drafts = drafts
        self._event_handler = EventHandler(self)
        self._loader = ChatLoader(self)
        self._redraw = Redraw(self, self._event_handler, self._loader)
        self._navigation = Navigation(self)
        self._user_directory = UserDirectory(self)
        self._first_steps = FirstSteps(self)

        self._create_widgets()

    def _create_widgets(self) -> None:
        """Create the widgets that other parts use. They have no node any more while the screen closes."""
        navigation, take_text = self._navigation, self.entry.take_text
        list_keys, undo = navigation.list_keys(), self.dispatcher.undo
        message_keys = {**list_keys, **navigation.page_keys(), "u": undo, "ctrl+z": undo}
        self.chat_filter = ChatFilter(navigation.filter_keys())
        self.chat_list = ChatList(self.client, self._drafts, self.deletions, list_keys, take_text)
        self.message_list = MessageList(
            self.client, self.deletions, self.dispatcher.act, message_keys, take_text
        )
        self.welcome = Welcome(list_keys, take_text)
        self.notice_line = NoticeLine()
        self._response_panel = ResponsePanel()
        commands = self.dispatcher.most_used_commands
        self.composer = Composer(
            Sources(self._user_directory.complete, commands, self._command_values),
            self.entry.submit,
            self.entry.leave,
            {**navigation.composer_keys(), "ctrl+z": self._undo},
        )

    def compose(self) -> ComposeResult:
        yield self._redraw.connection_line
        with Horizontal():
            with Vertical(id="side"):
                yield self.chat_filter
                yield self.chat_list
            with Vertical():
                with Vertical(id="conversation"):
                    yield self._redraw.title_line
                    yield self.message_list
                    yield self.welcome
                yield self._response_panel
                yield self._redraw.activity_line
                yield CandidateList()
                yield Static(id="banner")
                with Vertical(id="entry"):
                    yield self.notice_line
                    yield self.composer
        yield Footer(show_command_palette=True)

    # Start and end

    def on_mount(self) -> None:
        self.composer.focus()
        self.message_list.set_max_text_columns(self.app_actions.text_columns)
        self.deletions.on_change = self._redraw_deletion
        self.deletions.on_failure = partial(self.show_notice, severity="error")
        self.set_interval(TICK_SECONDS, self._tick)
        self.run_in_background(self._event_handler.listen, group="listen")
        self.run_in_background(self._first_steps.run, group="welcome")
        self._redraw.refresh_now()

    def on_unmount(self) -> None:
        self._drafts.save()

    def save_draft(self) -> None:
        self.entry.keep_draft()
        reason = self._drafts.save()
        if reason is not None:
            self.show_notice(f"Your draft cannot be saved: {reason}.", severity="warning")

    def end_session(self, reason: str) -> None:
        self.post_message(self.SessionOver(reason))

    def _tick(self) -> None:
        self.update_status_lines()
        self.message_list.check_day_change()
        self.deletions.tick()
        self.save_draft()

    # Redrawing

    def schedule_refresh(self) -> None:
        self._redraw.schedule()

    def set_terminal_focus(self, has_focus: bool) -> None:
        """Note whether the user works in this terminal or in another window."""
        self._event_handler.has_focus = has_focus
        self.schedule_refresh()

    def refresh_welcome(self) -> None:
        self._first_steps.refresh()

    def update_status_lines(self) -> None:
        self._redraw.update_status_lines()

    # The open chat

    def open_chat(self, chat_id: int) -> None:
        chat = self.client.state.chats.get(chat_id)
        if chat is None:
            return
        if self.entry.has_unsaved_edit:
            self.show_notice("Save your edit first (Enter), or cancel it (Esc).", severity="warning")
            return
        if self.chat is None or chat.id != self.chat.id or self.gone_reason:
            self._show_chat(chat)
        self.set_focus(self.composer)
        self.schedule_refresh()

    def _show_chat(self, chat: ChatState) -> None:
        self.save_draft()
        previous, self.chat, self.gone_reason = self.chat, chat, ""
        self._event_handler.changed_ids.clear()
        self._event_handler.new_below_count = 0
        self.close_response()
        self.welcome.hide()
        self.chat_list.open_chat_id = chat.id
        self.chat_list.highlight(chat.id)
        self.message_list.set_notice("")
        self.message_list.show_chat(chat)
        self.entry.start(chat.id, "" if previous is not None else self.composer.text)
        self._loader.open(chat.id, previous.id if previous is not None else None)

    async def go_to_message(self, message_id: int) -> bool:
        is_loaded = await self._loader.load_back_to(message_id)
        return is_loaded and self.message_list.select_message(message_id)

    def replace_chat(self, chat: ChatState) -> None:
        if self.chat is not chat:
            self.chat = None
            self.open_chat(chat.id)

    def _redraw_deletion(self, chat_id: int, message_id: int) -> None:
        if self.chat is not None and self.chat.id == chat_id:
            self.message_list.update_messages({message_id})
        self.schedule_refresh()

    def mark_gone(self, reason: str) -> None:
        self.save_draft()
        self.gone_reason = reason
        self.message_list.set_notice(reason)
        self.show_notice(reason, severity="warning")

    @on(MessageList.OlderNeeded)
    def _load_older(self) -> None:
        self._loader.load_older()

    @on(MessageList.LinkClicked)
    def _open_link(self, event: MessageList.LinkClicked) -> None:
        self.dispatcher.run("open-link", event.url)

    @on(MessageList.Scrolled)
    def _scrolled(self) -> None:
        if self.message_list.is_at_end:
            self.schedule_refresh()

    # Background tasks and notifications

    def run_in_background(self, work: Work, *, group: str, exclusive: bool = False) -> None:
        self.run_worker(work, group=group, exclusive=exclusive)

    def start_command(self, work: Work) -> None:
        self.dispatcher.start(work)

    def notify_message(self, chat: ChatState, message: Message) -> None:
        if self.app_actions.notifies:
            notifications.notify(self.app, chat, message, self.client.state)

    def show_notice(self, text: str, severity: SeverityLevel = "information") -> None:
        """Show one line for as long as it takes to read it. The text is sanitized."""
        self.notice_line.show(text, severity)

    def show_response(self, title: str, text: str) -> None:
        self._response_panel.show(sanitize.line(title), sanitize.lines(text))
        self.notice_line.keep(title, details=text)

    def close_response(self) -> bool:
        return self._response_panel.close()

    # The list of chats and its filter

    @on(ChatList.ChatSelected)
    def _chat_selected(self, event: ChatList.ChatSelected) -> None:
        self._navigation.open_selected(event.chat_id)

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self.chat_list.set_filter(event.value)

    @on(Welcome.PersonSelected)
    def _write_to(self, event: Welcome.PersonSelected) -> None:
        self.dispatcher.run("dm", f"@{event.username}")

    # The composer

    @on(TextArea.Changed, "#composer")
    def _composer_changed(self, event: TextArea.Changed) -> None:
        self.entry.text_changed(event.text_area.text)

    @on(Composer.CandidatesChanged)
    def _show_candidates(self, event: Composer.CandidatesChanged) -> None:
        self.query_one(CandidateList).show(event.candidates, event.selected)

    def _undo(self) -> None:
        """Undo the last change of the text. Without one, take back the last deletion."""
        if self.composer.can_undo:
            self.composer.action_undo()
        else:
            self.dispatcher.undo()

    def show_banner(self, text: Text | None) -> None:
        banner = self.query_one("#banner", Static)
        banner.set_class(text is not None, "-shown")
        if text is not None:
            banner.update(text)

    def _command_values(self, name: str) -> list[str]:
        return theme_names(self.app) if name == "theme" else slash_commands.values_of(name)

    # Keys

    def on_descendant_focus(self) -> None:
        """Show where keys go: by the line above the messages, or by the rule above the composer.

        `:focus-within` would draw all messages again whenever the focus moves.
        """
        self._redraw.title_line.set_class(self.focused in (self.message_list, self.welcome), "-active")
        self.notice_line.set_class(self.focused is self.composer, "-active")

    def action_find(self) -> None:
        self._navigation.focus_filter()

    def action_next_unread(self) -> None:
        self._navigation.open_next_unread()

    def action_neighbour(self, step: int) -> None:
        self._navigation.open_neighbour(step)

    def action_newest(self) -> None:
        self.message_list.action_newest()
        self.schedule_refresh()

    def action_reconnect(self) -> None:
        self.client.reconnect()

    def action_notices(self) -> None:
        self.app.push_screen(NoticesDialog(list(self.notice_line.kept)))

    def action_help(self) -> None:
        self.dispatcher.run("help")
