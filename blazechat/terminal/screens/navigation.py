"""Moves between chats: the filter of the list of chats, the neighbours of the open chat, unread chats."""

from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.widgets.chat_list import ChatFilter
from blazechat.terminal.widgets.key_order import KeyActions


class Navigation:
    """The navigation of one screen, and what the keys do for it in the filter and in the composer."""

    def __init__(self, view: ChatView) -> None:
        self._view = view

    def focus_filter(self) -> None:
        self._view.set_focus(self._filter)

    def close_filter(self) -> None:
        """Empty the filter and go to the composer."""
        self._filter.clear()
        self._view.set_focus(self._view.composer)

    def open_highlighted(self) -> None:
        """Open the first match, or the chat that was selected with the arrow keys."""
        chat_list = self._view.chat_list
        chat_list.set_filter(self._filter.value)
        if chat_list.highlighted_id is not None:
            self.open_selected(chat_list.highlighted_id)

    def open_selected(self, chat_id: int) -> None:
        """Open a chat of the list, and empty the filter."""
        self._filter.clear()
        self._view.open_chat(chat_id)

    def open_next_unread(self) -> None:
        chat_id = self._view.chat_list.neighbour(1, unread=True)
        self._open_or_explain(chat_id, "There are no unread messages.")

    def open_neighbour(self, step: int) -> None:
        """Open the chat `step` places below the open one."""
        chat_id = self._view.chat_list.neighbour(step)
        self._open_or_explain(chat_id, "There are no chats yet. Open one with /dm @user.")

    def scroll_page(self, direction: int) -> None:
        """Scroll the messages by nearly the height of their view: up with -1, down with 1."""
        view = self._view
        scrolled = view.message_list if view.chat is not None else view.welcome
        lines = max(1, scrolled.size.height - 2)
        scrolled.scroll_relative(y=direction * lines, animate=False)

    def go_to_newest(self) -> None:
        self._view.message_list.action_newest()
        self._view.schedule_refresh()

    def composer_keys(self) -> KeyActions:
        """Return what keys do while the composer has the focus."""
        return {**self._chat_keys(), **self.page_keys()}

    def _chat_keys(self) -> KeyActions:
        return {
            "ctrl+up": lambda: self.open_neighbour(-1),
            "alt+up": lambda: self.open_neighbour(-1),
            "ctrl+down": lambda: self.open_neighbour(1),
            "alt+down": lambda: self.open_neighbour(1),
            "ctrl+n": self.open_next_unread,
            "ctrl+k": self.focus_filter,
            "ctrl+end": self.go_to_newest,
        }

    def page_keys(self) -> KeyActions:
        """Return the keys that scroll the messages."""
        return {"pageup": lambda: self.scroll_page(-1), "pagedown": lambda: self.scroll_page(1)}

    def list_keys(self) -> KeyActions:
        """Return what keys do while the list of messages or of chats has the focus."""
        return {**self._chat_keys(), "escape": self.leave_list}

    def leave_list(self) -> None:
        self._view.message_list.unselect()
        self.close_filter()

    def filter_keys(self) -> KeyActions:
        """Return what keys do while the filter has the focus."""
        return {
            "enter": self.open_highlighted,
            "escape": self.close_filter,
            "up": lambda: self._view.chat_list.action_move(-1),
            "down": lambda: self._view.chat_list.action_move(1),
        }

    @property
    def _filter(self) -> ChatFilter:
        return self._view.chat_filter

    def _open_or_explain(self, chat_id: int | None, explanation: str) -> None:
        if chat_id is None:
            self._view.show_notice(explanation)
        else:
            self._view.open_chat(chat_id)
