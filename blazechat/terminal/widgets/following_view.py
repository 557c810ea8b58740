"""A view of lines that follows its end until the user scrolls up, as a log does."""

from textual.message import Message as TextualMessage

from blazechat.terminal.widgets.strips import LineView


class FollowingView(LineView):
    """Subclasses call `_move_to` to scroll. Every other change of the position is the user's."""

    class Scrolled(TextualMessage):
        """Other lines are visible."""

    def __init__(self, widget_id: str) -> None:
        super().__init__(id=widget_id)
        self._follows_end = True
        self._is_moving = False  # while this class scrolls, not the user

    @property
    def is_at_end(self) -> bool:
        """True if the last line is visible."""
        return self.scroll_offset.y >= self.max_scroll_y

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        # When the view becomes higher, Textual moves it up to its end. That is not the user's scrolling.
        if not self._is_moving and (new_value > old_value) == self.is_at_end:
            self._follows_end = self.is_at_end
        self.post_message(self.Scrolled())

    def _scroll_to_end(self) -> None:
        self._follows_end = True
        self._move_to(self.max_scroll_y)

    def _move_to(self, line: int) -> None:
        self._is_moving = True
        self.scroll_to(y=line, animate=False, immediate=True, force=True)
        self._is_moving = False
