import pytest

from tests.conftest import NewDatabase


@pytest.fixture(scope="session")
async def dsn(new_database: NewDatabase) -> str:
    return await new_database()
