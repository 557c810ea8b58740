"""A subscription: from when on a `/ws` connection gets the events of one chat, and which of them.

There are several per socket. A Struct that the garbage collector does not track is the smallest form, and
mypyc has none as small, so this module is not compiled.
"""

from msgspec import Struct


class Subscription(Struct, frozen=True, gc=False):
    """The subscription of a `/ws` connection to one chat."""

    joined_id: int
    """The chat's last message id when the user joined: an exclusive lower bound."""
    joined_version: int
    since: int
    """The connection gets every event after this version live. What changed before, it may resume."""
