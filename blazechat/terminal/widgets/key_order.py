"""Handles keys in the order in which they were pressed, also if one of them moves the focus.

Textual sends a key to the widget that has the focus at that moment, and runs its action later. Keys that
are typed quickly after one that moves the focus, or opens a dialog, would reach the wrong widget: a message
would go to the wrong chat, or the letters of a word would run commands.
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from textual import events
from textual.message_pump import MessagePump
from textual.widget import Widget

if TYPE_CHECKING:
    _Base = Widget
else:
    _Base = (
        object  # Textual takes the styles of the first base that is a widget, which must be the real one
    )

KeyActions = Mapping[str, Callable[[], None]]
"""Functions by key, for keys that act outside the widget."""
TakeText = Callable[[events.Key | events.Paste], None]
"""Takes typed or pasted text that the widget has no use for."""


class KeyOrder(_Base):
    """Mixin: runs the action of each key before the next key, and forwards keys if the focus has moved.

    It stands before the widget's class in the list of bases. `key_actions` come before the widget's
    bindings. Keys with neither are left to the widget's class, or to `take_text` if they are text.
    """

    key_actions: KeyActions = MappingProxyType({})
    take_text: TakeText | None = None
    last_key_at = 0.0
    """When the last key was pressed, by `time.monotonic()`."""

    async def _on_key(self, event: events.Key) -> None:
        self.last_key_at = time.monotonic()
        screen = self.app.screen
        target = screen.focused or screen
        bindings = self._bindings.key_to_bindings.get(event.key)
        if target is not self:
            forward(event, target)
        elif event.key in self.key_actions:
            self.key_actions[event.key]()
        elif bindings:
            await self.run_action(bindings[-1].action)
        elif event.is_printable and self.take_text is not None:
            self.take_text(event)
        else:
            return
        event.stop()
        event.prevent_default()


class ListKeys(KeyOrder):
    """Mixin for lists: what is pasted, and typed without being a key of the list, goes to `take_text`."""

    def _on_paste(self, event: events.Paste) -> None:
        if self.take_text is not None:
            self.take_text(event)
            event.stop()
            event.prevent_default()


def forward(event: events.Key | events.Paste, target: MessagePump) -> None:
    """Send a key or a pasted text to another widget or screen, as if the user had entered it there."""
    copied = (
        events.Key(event.key, event.character)
        if isinstance(event, events.Key)
        else events.Paste(event.text)
    )
    copied._set_forwarded()
    target.post_message(copied)
