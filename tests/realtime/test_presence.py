"""Who is here: connections, choices, and how long a choice stands."""

from blazechat.domain.shapes import Status
from blazechat.realtime.presence import CHOICE_LASTS, Presence


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_here_as_long_as_one_connection_is() -> None:
    """The first brings online, the last takes it; those between change nothing."""
    presence = Presence()
    assert presence.status_of(1) is Status.OFFLINE
    assert presence.arrive(1) is True
    assert presence.arrive(1) is False
    assert presence.depart(1) is False
    assert presence.status_of(1) is Status.ONLINE
    assert presence.depart(1) is True
    assert presence.status_of(1) is Status.OFFLINE


def test_a_choice_holds_while_connected_and_goes_with_the_last_connection() -> None:
    """Away stays away; coming back is online again."""
    presence = Presence()
    presence.arrive(1)
    presence.choose(1, Status.AWAY)
    presence.arrive(1)
    assert presence.status_of(1) is Status.AWAY
    presence.depart(1)
    presence.depart(1)
    assert presence.status_of(1) is Status.OFFLINE
    presence.arrive(1)
    assert presence.status_of(1) is Status.ONLINE


def test_a_choice_without_a_connection_runs_out() -> None:
    """For programs that have no socket."""
    clock = Clock()
    presence = Presence(clock)
    presence.choose(1, Status.AWAY)
    assert presence.status_of(1) is Status.AWAY
    clock.now = CHOICE_LASTS
    assert presence.status_of(1) is Status.OFFLINE
