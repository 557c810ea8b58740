"""The first minutes in the terminal app: who is here, how to begin, completion of names, invitations."""

import re
from pathlib import Path

from textual.widgets import Input

from tests.clients import pictures
from tests.clients.screens import Terminal, register, terminal
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, Person, eventually


async def rename(person: Person, display_name: str) -> None:
    await person.put(f"/api/users/{person.id}", {"display_name": display_name})


async def composer_has(ui: Terminal, text: str) -> None:
    await eventually(lambda: ui.screen.composer.text == text)


async def test_new_account_sees_the_people_of_the_server(new_server: NewServer, tmp_path: Path) -> None:
    """Without bots; those who come later appear, and one of them is written to with Esc and Enter."""
    live = await new_server()
    (alice,) = await register(live, "alice")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees(
            "Welcome, alice!", "This server has no other accounts yet.", "To invite others", live.url
        )
        bob, carol = await register(live, "bob", "carol")
        await rename(bob, "Bob Builder")
        await alice.post("/api/bots", {"username": "helper", "display_name": "Helper"})
        async with carol.online():
            ui.screen.refresh_welcome()
            await ui.sees("○ Bob Builder  @bob", "● carol", "/dm @name", "/group Team @name")
            await ui.sees_no("no other accounts")
            assert "helper" not in ui.text.casefold()
            await pictures.assert_matches("welcome_80", lambda: ui.snapshot)
            await ui.pilot.resize_terminal(60, 20)
            await ui.sees("write to one\n", "● online")
            await pictures.assert_matches("welcome_60", lambda: ui.snapshot)
            await ui.press("escape", "down", "enter")
            await ui.sees("@carol · online")
        await ui.sees_no("Welcome")
        await ui.enter("Hello Carol")
        await ui.sees("   Hello Carol")


async def test_letters_typed_in_the_list_of_people_go_to_the_composer(live: Live, tmp_path: Path) -> None:
    alice = await live.person("alice")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("○ first")
        await ui.press("escape")
        await ui.type("/dm @")
        await composer_has(ui, "/dm @")


async def test_closed_directory_says_how_to_write_to_a_person(
    new_server: NewServer, tmp_path: Path
) -> None:
    """By the exact user name, which no completion offers."""
    live = await new_server(directory="nobody", registration="closed")
    (alice,) = await register(live, "alice")
    closed = await live.client().post(
        "/api/auth/register", json={"username": "x", "email": "x@example.com", "password": PASSWORD}
    )
    assert closed.status_code == 403
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("does not list them", "/dm @name", "accepts no new accounts")
        await ui.enter("/invite")
        await ui.sees("This server accepts no new accounts")
    shared = await new_server(directory="shared_chats")
    alice, _ = await register(shared, "alice", "bob")
    async with terminal(tmp_path / "shared", alice) as ui:
        await ui.sees("does not list them")
        assert "bob" not in ui.text
        await ui.enter("/dm @Bob")
        await ui.sees("@bob · ")


async def test_names_are_completed_from_the_directory(live: Live, tmp_path: Path) -> None:
    """In /dm, /group and /add, by both names, before any chat is shared; elsewhere, members are offered."""
    alice, bob, carol, dan = await live.people("alice", "bob", "carol", "dan")
    oldest = (await alice.get("/api/users", params={"limit": 1})).json()[0]["username"]
    name = f"Qualen{carol.username.removeprefix('carol')}"
    await rename(carol, f"Carol {name}")
    async with terminal(tmp_path, alice) as ui:
        write = ui.screen.composer.set_text
        write("/dm @")
        await eventually(lambda: ui.screen.composer._completions.candidates)
        write(f"/dm @{oldest}")
        await ui.sees(f"@{oldest}  ")
        write("/dm ")
        await ui.type(f"@{name.casefold()}")
        await ui.sees(f"@{carol.username}  Carol {name}")
        await ui.press("tab")
        await composer_has(ui, f"/dm @{carol.username} ")
        write(f"/group Builders @{bob.username[:-1]}")
        await ui.sees(f"@{bob.username}  ")
        write(f"/group Builders @{bob.username} @{dan.username}")
        await ui.press("enter")
        await ui.sees("Builders  3 ")
        write(f"/add @{carol.username}")
        await ui.sees(f"@{carol.username}  Carol")
        write(f"/add @{bob.username}")
        await ui.sees_no(f"@{bob.username}  ")
        write(f"Hello @{dan.username[:-1]}")
        await ui.sees(f"@{dan.username}  ")
        write("Hello @carol")
        await ui.sees_no(f"@{carol.username}  ")


async def test_administrator_invites(new_server: NewServer, tmp_path: Path) -> None:
    """/invite creates a code with which one person registers; other users are sent to an administrator."""
    live = await new_server(registration="invitation")
    (alice,) = await register(live, "alice")
    async with terminal(tmp_path / "a", alice) as ui:
        await ui.sees("needs an invitation")
        await ui.enter("/invite")
        await ui.sees("Invitation: ", f"blazechat chat {live.url}", "Ctrl+N", "creates one account, until")
        code = re.search(r"Invitation: (\S+)", "\n".join([ui.text, *ui.notices]))
        assert code is not None
        assert code[1] in ui.app.clipboard
    async with terminal(tmp_path / "b", url=live.url) as ui:
        await ui.press("ctrl+n")
        await ui.sees("Invitation")
        values = {"username": "bob", "email": "b@example.com", "password": PASSWORD, "invitation": code[1]}
        for field, value in values.items():
            ui.app.screen.query_one(f"#{field}", Input).value = value
        await ui.press("enter")
        await ui.wait_until_online()
        await ui.sees("needs an invitation. Ask an")
        await ui.enter("/invite")
        await ui.sees("Ask an administrator of this server.")


async def test_open_server_is_invited_to_by_its_address(
    live: Live, new_server: NewServer, tmp_path: Path
) -> None:
    """By the public one; /invite says that an address of this machine is of no use elsewhere."""
    public = await new_server(public_url="https://chat.example.com")
    for server, url in ((live, live.url), (public, "https://chat.example.com")):
        alice = await server.person("alice")
        async with terminal(tmp_path / alice.username, alice) as ui:
            await ui.enter("/invite")
            await ui.sees(f"blazechat chat {url}")
            assert ("works on this machine only" in ui.text) is (server is live)
            assert "this machine" not in ui.app.clipboard
