"""Redraws the chat screen after changes: the list of chats, the messages, the status lines."""

from rich.text import Text

from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.screens.chat_loader import ChatLoader
from blazechat.terminal.screens.event_handler import EventHandler
from blazechat.terminal.screens.refresh_timing import RefreshTimer, Throttle
from blazechat.terminal.widgets.composer import COUNTER_FROM_CHARACTERS, MAX_MESSAGE_CHARACTERS
from blazechat.terminal.widgets.status_bar import StatusLine, activity_line, connection_line, title_line

CHAT_LIST_REFRESH_SECONDS = 0.4
"""The list of chats is redrawn at most once per this time, since that delays keys."""


class Redraw:
    """The redrawing of one screen. It owns the screen's status lines."""

    def __init__(self, view: ChatView, event_handler: EventHandler, loader: ChatLoader) -> None:
        self.connection_line = StatusLine(id="connection")
        self.title_line = StatusLine(id="title")
        self.activity_line = StatusLine(id="activity")
        self._view = view
        self._event_handler = event_handler
        self._loader = loader
        self._timer = RefreshTimer(view.set_timer, self._last_key_at, self._refresh)
        self._chat_list_throttle = Throttle(
            CHAT_LIST_REFRESH_SECONDS, view.set_timer, self._update_chat_list
        )

    def schedule(self) -> None:
        """Draw changes soon, together with those that follow."""
        self._timer.schedule()

    def refresh_now(self) -> None:
        self._timer.refresh_now()

    def update_status_lines(self) -> None:
        view, handler = self._view, self._event_handler
        self.connection_line.show_text(connection_line(view.client, handler.outage, view.size.width))
        self.title_line.show_text(title_line(view.client, view.chat, view.gone_reason))
        length = len(view.composer.text)
        if length > COUNTER_FROM_CHARACTERS:
            style = "bold" if length > MAX_MESSAGE_CHARACTERS else ""
            line = Text(f"{length:,} of {MAX_MESSAGE_CHARACTERS:,} characters", style)
        else:
            activity = activity_line(view.client, view.chat, handler.new_below_count)
            line = view.transfers.status_line or activity
        self.activity_line.show_text(line)

    def _refresh(self) -> None:
        view, handler = self._view, self._event_handler
        if not view.is_mounted:
            return
        self._chat_list_throttle.call()
        changed_ids, handler.changed_ids = handler.changed_ids, set()
        if handler.needs_rebuild:
            handler.needs_rebuild = False
            view.message_list.rebuild_in_place()
        elif changed_ids:
            view.message_list.update_messages(changed_ids)
        self._loader.load_members()
        is_seen = handler.has_focus and not self._loader.is_loading and view.message_list.is_at_end
        if is_seen and not view.gone_reason:
            handler.new_below_count = 0
            self._loader.mark_read()
        self.update_status_lines()

    def _update_chat_list(self) -> None:
        self._view.chat_list.update()

    def _last_key_at(self) -> float:
        return self._view.composer.last_key_at if self._view.is_mounted else 0.0
