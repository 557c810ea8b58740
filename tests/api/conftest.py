"""A server that records which requests reach FastAPI, shared by the tests of a module."""

from collections.abc import AsyncIterator

import pytest

from tests.api.direct_harness import Direct, record, with_chat
from tests.conftest import NewDatabase
from tests.harness import Live, running, settings_for


@pytest.fixture(scope="module")
async def recorded(new_database: NewDatabase) -> AsyncIterator[tuple[Live, list[str]]]:
    async with running(settings_for(await new_database())) as live:
        yield live, record(live)


@pytest.fixture
async def direct(recorded: tuple[Live, list[str]]) -> Direct:
    """A new user with a new chat."""
    return await with_chat(*recorded)
