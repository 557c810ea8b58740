"""Files in the terminal app: sent, displayed, saved and opened by keys and commands, on a live server."""

import os
from pathlib import Path

import pytest
from textual.events import Paste

from blazechat.client import Attachment
from blazechat.terminal.attachment_lines import format_size
from blazechat.terminal.commands.files import FileCommands
from blazechat.terminal.local_files import reserve_path, safe_name, split_path
from blazechat.terminal.screens.image_viewer import ImageViewer, UnreadableImage, render_image
from blazechat.terminal.slash_commands import BY_NAME
from tests.clients.screens import terminal
from tests.conftest import NewServer
from tests.files.pictures import photo
from tests.files.upload_calls import uploaded
from tests.harness import Live, eventually


async def test_a_file_is_sent_displayed_and_saved(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image with a caption: one line in the message, displayed by `o`, saved by `s`."""
    alice, bob = await live.people("alice", "bob")
    await alice.direct(bob)
    (tmp_path / "my holiday.jpg").write_bytes(photo(640, 480))
    saved = tmp_path / "Downloads"
    saved.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    async with terminal(tmp_path / "a", alice) as alice_ui, terminal(tmp_path / "b", bob) as bob_ui:
        await alice_ui.open(bob.username)
        await bob_ui.open(alice.username)
        alice_ui.screen.composer.post_message(Paste(f"/send '{tmp_path}/my holiday.jpg' Look!"))
        await eventually(lambda: alice_ui.screen.composer.text)
        await alice_ui.press("enter")
        await bob_ui.sees("   Look!", "Image: my holiday.jpg", "640×480", "KB")
        await alice_ui.sees("Image: my holiday.jpg", "✓")
        await bob_ui.press("escape", "o")
        await eventually(lambda: isinstance(bob_ui.app.screen, ImageViewer))
        await eventually(lambda: "▀▀▀▀▀▀▀▀" in bob_ui.text)
        assert "my holiday.jpg" in bob_ui.text
        await bob_ui.press("escape")
        await eventually(lambda: not isinstance(bob_ui.app.screen, ImageViewer))
        for names in (["my holiday.jpg"], ["my holiday (1).jpg", "my holiday.jpg"]):
            await bob_ui.press("s")
            await eventually(lambda names=names: sorted(os.listdir(saved)) == names)  # noqa: PTH208
        await bob_ui.sees("Saved as")


async def test_files_that_cannot_be_sent_are_explained(new_server: NewServer, tmp_path: Path) -> None:
    """A missing file, a folder, a file that is too large: each has its sentence."""
    live = await new_server(max_file_bytes=1000)
    alice = await live.person("alice")
    await alice.group()
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(2000))
    async with terminal(tmp_path / "a", alice) as alice_ui:
        await alice_ui.sees("Team")
        for typed, sentence in (
            ("/send nothing.txt", "There is no file nothing.txt"),
            (f"/send {tmp_path}", "is not a file"),
            ("/send", "Usage: /send file"),
            ("/cancel", "No file is being sent or downloaded"),
            ("/open", "There is no such message"),
        ):
            alice_ui.screen.composer.set_text("")
            await alice_ui.enter(typed)
            await eventually(lambda sentence=sentence: any(sentence in each for each in alice_ui.notices))
        alice_ui.screen.composer.set_text(f"/send {large}")
        await alice_ui.press("enter")
        await eventually(
            lambda: any("Files may have at most 1,000 bytes" in each for each in alice_ui.notices)
        )
        assert alice_ui.screen.transfers.status_line is None


async def test_one_of_several_files_is_selected(live: Live, tmp_path: Path) -> None:
    """A message with two files: the app asks which one to save."""
    alice = await live.person("alice")
    chat = await alice.group()
    files = [(await uploaded(alice, name.encode(), name))["id"] for name in ("one.txt", "two.txt")]
    await alice.say(chat, "", attachments=files)
    async with terminal(tmp_path / "a", alice) as alice_ui:
        await alice_ui.sees("File: one.txt", "File: two.txt")
        alice_ui.screen.composer.set_text(f"/save {tmp_path / 'copy.txt'}")
        await alice_ui.press("enter")
        await alice_ui.sees("Which file?")
        await alice_ui.press("down", "enter")
        copy = tmp_path / "copy.txt"
        await eventually(lambda: copy.exists() and copy.read_text() == "two.txt")


@pytest.mark.parametrize(
    ("typed", "path", "rest"),
    [
        ("a.txt", "a.txt", ""),
        ("a.txt and words", "a.txt", "and words"),
        ("'a b.txt' words", "a b.txt", "words"),
        ('"a b.txt"', "a b.txt", ""),
        (r"a\ b.txt words", "a b.txt", "words"),
        ("'a b.txt", "'a", "b.txt"),
    ],
)
def test_paths_are_read_as_terminals_paste_them(typed: str, path: str, rest: str) -> None:
    """In quotes or with escaped spaces. The rest is the caption."""
    found, caption = split_path(typed)
    assert (str(found), caption) == (path, rest)


@pytest.mark.parametrize(
    "name",
    [
        "../../.bashrc",
        "..",
        "/etc/passwd",
        "a\x1b[2Jb",
        "a\nb",
        "C:\\x",
        "x" * 900,
        "\u202egpj.exe",
        "假" * 120 + ".txt",
    ],
)
def test_untrusted_file_names_are_safe(name: str) -> None:
    """The safe form has no folders, no leading dot and no control characters, and is not too long."""
    safe = safe_name(name)
    assert safe
    assert Path(safe).name == safe
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 180
    assert safe.isprintable()


def test_long_names_keep_their_suffix() -> None:
    """They are cut by bytes, as file systems count, and never to a hidden name."""
    assert safe_name("假" * 120 + ".txt").endswith("假.txt")
    assert not safe_name("x" * 200 + ".bashrc" * 30).startswith(".")


def test_a_path_is_reserved_once(tmp_path: Path) -> None:
    """Two downloads at the same time do not overwrite each other."""
    file = Attachment(1, "a.txt", "text/plain", 1, None, None, None, None, "/x", [])
    assert [reserve_path(file.name, tmp_path).name for _ in range(3)] == ["a.txt", "a (1).txt", "a (2).txt"]


def test_sizes_are_formatted() -> None:
    """At most three digits and a unit."""
    counts = (0, 999, 1000, 1500, 9_999, 12_345, 999_999, 1_000_000, 2_147_483_648)
    formatted = ("0 bytes", "999 bytes", "1.0 KB", "1.5 KB", "10 KB", "12 KB", "1.0 MB", "1.0 MB", "2.1 GB")
    assert tuple(format_size(count) for count in counts) == formatted


def test_unreadable_images_are_refused() -> None:
    """Empty content, a damaged image, another format."""
    for content in (b"", b"RIFF\x00\x00\x00\x00WEBPVP8 ", photo()):
        with pytest.raises(UnreadableImage):
            render_image(content, 80, 24)


def test_every_file_command_is_implemented() -> None:
    """Each listed command has a method."""
    for name in ("send", "cancel", "open", "save"):
        assert name in BY_NAME
        assert hasattr(FileCommands, name)
