"""Pages of messages are ranges of ids."""

from hypothesis import given
from hypothesis import strategies as st

from blazechat.domain.messaging.messages import PageRequest


@given(newest=st.integers(0, 300), limit=st.integers(1, 100), around=st.integers(1, 400))
def test_page_around_a_message_is_as_full_as_possible(newest: int, limit: int, around: int) -> None:
    """It contains that message, if there is one."""
    first, last = PageRequest(limit, around=around).bounds(newest)
    found = range(max(1, first), min(last, newest) + 1)
    assert len(found) == min(limit, newest)
    assert around in found or around > newest


@given(newest=st.integers(0, 300), limit=st.integers(1, 100))
def test_pages_before_each_other_have_every_message_once(newest: int, limit: int) -> None:
    """Pages read backwards from the newest message leave no gap and no overlap."""
    seen: list[int] = []
    before = newest + 1
    while before > 1:
        first, last = PageRequest(limit, before=before).bounds(newest)
        first = max(1, first)
        seen = [*range(first, last + 1), *seen]
        before = first
    assert seen == list(range(1, newest + 1))
