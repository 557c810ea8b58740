"""Handles keys in the order in which they were pressed, also if one of them moves the focus.

Textual sends a key to the widget that has the focus at that moment, and runs its action later. Keys that
are typed quickly after one that moves the focus would reach the wrong widget: a message would go to the
wrong chat.
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from textual import events
from textual.widget import Widget

if TYPE_CHECKING:
    _Base = Widget
else:
    _Base = (
        object  # Textual takes the styles of the first base that is a widget, which must be the real one
    )

KeyActions = Mapping[str, Callable[[], None]]
"""Functions by key, for keys that act outside the widget."""


class KeyOrder(_Base):
    """Mixin: runs the action of each key before the next key, and forwards keys if the focus has moved.

    It stands before the widget's class in the list of bases. `key_actions` come before the widget's
    bindings. Keys with neither are left to the widget's class.
    """

    key_actions: KeyActions = MappingProxyType({})
    last_key_at = 0.0
    """When the last key was pressed, by `time.monotonic()`."""

    async def _on_key(self, event: events.Key) -> None:
        self.last_key_at = time.monotonic()
        focused = self.screen.focused
        bindings = self._bindings.key_to_bindings.get(event.key)
        if focused is not None and focused is not self:
            forwarded = events.Key(event.key, event.character)
            forwarded._set_forwarded()
            focused.post_message(forwarded)
        elif event.key in self.key_actions:
            self.key_actions[event.key]()
        elif bindings:
            await self.run_action(bindings[-1].action)
        else:
            return
        event.stop()
        event.prevent_default()
