"""Keys in the order in which they were pressed, whatever they do.

Textual hands a key to what has the focus at that moment, and acts on it later. So what is typed quickly
after a key that moves the focus would go to the wrong place, and a message into the wrong chat.
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
    _Base = object  # Textual takes styles from the first base that is a widget: the real one

KeyActions = Mapping[str, Callable[[], None]]
"""What keys do that the widget itself does not know of."""


class KeyOrder(_Base):
    """Deals with each key before it looks at the next; one that is not for it any more, it hands on.

    Goes before the widget's class in the list of bases, which has what is left over. `keys` come first.
    """

    key_actions: KeyActions = MappingProxyType({})
    last_key_at = 0.0  # when the last key came, by the monotonic clock

    async def _on_key(self, event: events.Key) -> None:
        self.last_key_at = time.monotonic()
        focused = self.screen.focused
        bindings = self._bindings.key_to_bindings.get(event.key)
        if focused is not None and focused is not self:
            again = events.Key(event.key, event.character)
            again._set_forwarded()
            focused.post_message(again)
        elif event.key in self.key_actions:
            self.key_actions[event.key]()
        elif bindings:
            await self.run_action(bindings[-1].action)
        else:
            return
        event.stop()
        event.prevent_default()
