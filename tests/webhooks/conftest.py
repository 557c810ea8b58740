"""Fixtures of the webhook tests."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import NewDatabase
from tests.harness import Live, running, settings_for
from tests.webhooks.outgoing import FAST_RETRIES
from tests.webhooks.receiver import LOOPBACK


@pytest.fixture(scope="module")
async def server(new_database: NewDatabase) -> AsyncIterator[Live]:
    """A server that may call this machine and retries quickly."""
    settings = settings_for(await new_database(), **LOOPBACK, **FAST_RETRIES, webhook_timeout=5)
    async with running(settings) as live:
        await live.person("first")
        yield live
