"""Pages are ranges of ids."""

from hypothesis import given
from hypothesis import strategies as st

from blazechat.domain.messaging.messages import PageRequest


@given(newest=st.integers(0, 300), limit=st.integers(1, 100), around=st.integers(1, 400))
def test_a_page_around_is_full_where_it_can_be(newest: int, limit: int, around: int) -> None:
    """And it holds the message it is around, if there is one."""
    first, last = PageRequest(limit, around=around).bounds(newest)
    found = range(max(1, first), min(last, newest) + 1)
    assert len(found) == min(limit, newest)
    assert around in found or around > newest


@given(newest=st.integers(0, 300), limit=st.integers(1, 100))
def test_pages_before_and_after_meet(newest: int, limit: int) -> None:
    """Going back page by page visits every message once."""
    seen: list[int] = []
    before = newest + 1
    while before > 1:
        first, last = PageRequest(limit, before=before).bounds(newest)
        first = max(1, first)
        seen = [*range(first, last + 1), *seen]
        before = first
    assert seen == list(range(1, newest + 1))
