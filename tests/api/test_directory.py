"""The directory: who lists whom, search by names, and what a server tells before the log-in."""

import asyncpg
import pytest

from blazechat.domain.accounts.directory import DirectoryPage, select_page
from tests.conftest import NewDatabase, NewServer
from tests.harness import Live, Person


async def found(person: Person, **query: str) -> list[int]:
    answer = await person.get("/api/users", params=query)
    assert answer.status_code == 200, answer.text
    return [user["id"] for user in answer.json()]


async def test_users_are_found_by_the_beginning_of_any_name(live: Live) -> None:
    """Of the user name, or of words of the display name, in any case; deleted names are not found."""
    alice, bob, zoe = await live.people("alice", "bob", "zoë")
    await bob.put(f"/api/users/{bob.id}", {"display_name": "Bartholomäus  van der Qualen-Öhm"})
    for search in (bob.username[:3].upper(), "bartholo", "QUALEN", "öhm", "van bart", "qualen-ö"):
        assert bob.id in await found(alice, q=search), search
    for search in ("artholo", "van x", "%", "bart%", "bart & van", "'; --", "nobody-has-this"):
        assert bob.id not in await found(alice, q=search), search
    assert zoe.id in await found(alice, q="ZOE\u0308")  # decomposed, as some keyboards write it
    assert await found(alice, q=f"@{bob.username}") == [bob.id]
    assert await found(alice, username=bob.username.upper()) == [bob.id]
    assert await found(alice, username=f"{bob.username}x") == []
    assert (await alice.get("/api/users", params={"q": "x" * 51})).status_code == 422
    assert (await alice.get("/api/users", params={"username": "nul\0"})).status_code == 422
    await bob.delete(f"/api/users/{bob.id}")
    assert await found(alice, q="bartholo") == []


async def test_search_reads_the_indexes(new_database: NewDatabase) -> None:
    """Not all users: a name is found among fifty thousand without a sequential scan."""
    from sqlalchemy.dialects import postgresql

    connection = await asyncpg.connect(await new_database())
    await connection.execute(
        "INSERT INTO users (username, username_key, display_name)"
        " SELECT 'user' || n, 'user' || n, 'First' || n || ' Last' || n FROM generate_series(1, 50000) n"
    )
    await connection.execute("ANALYZE users")
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statement = select_page(DirectoryPage(limit=51, search="last4711")).compile(
        dialect=dialect, compile_kwargs={"literal_binds": True}
    )
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
    await connection.close()
    assert "ix_users_display_name_words" in plan, plan
    assert "uq_users_username_key" in plan, plan
    assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize("setting", ["shared_chats", "nobody"])
async def test_closed_directory_hides_strangers(new_server: NewServer, setting: str) -> None:
    """They are found by their whole name, without their status; their profiles by id are hidden."""
    live = await new_server(directory=setting)
    alice, bob, carol = await live.people("alice", "bob", "carol")
    async with carol.online():
        assert await found(alice) == [alice.id]
        assert await found(alice, q="carol") == []
        (stranger,) = (await alice.get("/api/users", params={"username": carol.username})).json()
        assert (stranger["id"], stranger["status"], stranger["last_seen"]) == (carol.id, "offline", None)
        for path in (f"/api/users/{carol.id}", f"/api/users/{carol.id}/status"):
            assert (await alice.get(path)).status_code == 404
        assert (await alice.get(f"/api/users/{alice.id}")).json()["email"]

        await alice.group(bob, carol)
        expected = [alice.id, bob.id, carol.id] if setting == "shared_chats" else [alice.id]
        assert await found(alice) == expected
        (known,) = (await alice.get("/api/users", params={"username": carol.username})).json()
        assert known["status"] == "online"
        assert (await alice.get(f"/api/users/{carol.id}/status")).json()["status"] == "online"


async def test_server_tells_its_address_and_rules_without_a_login(new_server: NewServer) -> None:
    """For log-in forms and invitations; the address is the configured one, or the one of the request."""
    live = await new_server(registration="invitation", directory="nobody")
    expected = {"url": live.url, "registration": "invitation", "directory": "nobody"}
    assert (await live.client().get("/api/server")).json() == expected
    public = await new_server(public_url="https://chat.example.com")
    expected = {"url": "https://chat.example.com", "registration": "open", "directory": "everyone"}
    assert (await public.client().get("/api/server")).json() == expected
