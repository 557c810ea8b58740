"""Files in the terminal: sent, seen, saved and opened by keys and commands, on a live server."""

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


async def test_a_file_is_sent_seen_and_saved(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture with a caption: shown to the other as a line, in colours by `o`, and saved by `s`."""
    alice, bob = await live.people("alice", "bob")
    await alice.direct(bob)
    (tmp_path / "my holiday.jpg").write_bytes(photo(640, 480))
    saved = tmp_path / "Downloads"
    saved.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    async with terminal(tmp_path / "a", alice) as hers, terminal(tmp_path / "b", bob) as his:
        await hers.open(bob.username)
        await his.open(alice.username)
        hers.screen.composer.post_message(Paste(f"/send '{tmp_path}/my holiday.jpg' Look!"))
        await eventually(lambda: hers.screen.composer.text)
        await hers.press("enter")
        await his.sees("   Look!", "Image: my holiday.jpg", "640×480", "KB")
        await hers.sees("Image: my holiday.jpg", "✓")
        await his.press("escape", "o")
        await eventually(lambda: isinstance(his.app.screen, ImageViewer))
        await eventually(lambda: "▀▀▀▀▀▀▀▀" in his.text)
        assert "my holiday.jpg" in his.text
        await his.press("escape")
        await eventually(lambda: not isinstance(his.app.screen, ImageViewer))
        for names in (["my holiday.jpg"], ["my holiday (1).jpg", "my holiday.jpg"]):
            await his.press("s")
            await eventually(lambda names=names: sorted(os.listdir(saved)) == names)  # noqa: PTH208
        await his.sees("Saved as")


async def test_what_cannot_be_sent_is_told(new_server: NewServer, tmp_path: Path) -> None:
    """No such file, a folder, too large: each with a sentence."""
    live = await new_server(max_file_bytes=1000)
    alice = await live.person("alice")
    await alice.group()
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(2000))
    async with terminal(tmp_path / "a", alice) as hers:
        await hers.sees("Team")
        for typed, told in (
            ("/send nothing.txt", "There is no file nothing.txt"),
            (f"/send {tmp_path}", "is not a file"),
            ("/send", "Usage: /send file"),
            ("/cancel", "No file is being sent or downloaded"),
            ("/open", "There is no such message"),
        ):
            hers.screen.composer.set_text("")
            await hers.say(typed)
            await eventually(lambda told=told: any(told in each for each in hers.told))
        hers.screen.composer.set_text(f"/send {large}")
        await hers.press("enter")
        await eventually(lambda: any("Files have at most 1,000 bytes" in each for each in hers.told))
        assert hers.screen.transfers.status_line is None


async def test_several_files_are_chosen_from(live: Live, tmp_path: Path) -> None:
    """A message with two: one is asked which; the other's name cannot lead out of the folder."""
    alice = await live.person("alice")
    chat = await alice.group()
    files = [(await uploaded(alice, name.encode(), name))["id"] for name in ("one.txt", "two.txt")]
    await alice.say(chat, "", attachments=files)
    async with terminal(tmp_path / "a", alice) as hers:
        await hers.sees("File: one.txt", "File: two.txt")
        hers.screen.composer.set_text(f"/save {tmp_path / 'copy.txt'}")
        await hers.press("enter")
        await hers.sees("Which file?")
        await hers.press("down", "enter")
        await eventually((tmp_path / "copy.txt").exists)
        assert (tmp_path / "copy.txt").read_text() == "two.txt"


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
def test_paths_are_taken_as_terminals_paste_them(typed: str, path: str, rest: str) -> None:
    """In quotes or with escaped spaces; what follows is the caption."""
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
def test_names_of_others_stay_in_the_folder(name: str) -> None:
    """Whatever a server tells: no folders, nothing hidden, nothing that steers a terminal."""
    kept = safe_name(name)
    assert kept
    assert Path(kept).name == kept
    assert not kept.startswith(".")
    assert len(kept.encode()) <= 180
    assert kept.isprintable()


def test_names_are_cut_before_their_endings() -> None:
    """By bytes, as file systems count; and never to one that is hidden."""
    assert safe_name("假" * 120 + ".txt").endswith("假.txt")
    assert not safe_name("x" * 200 + ".bashrc" * 30).startswith(".")


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    """Two who save at the same moment do not save onto each other."""
    file = Attachment(1, "a.txt", "text/plain", 1, None, None, None, None, "/x", [])
    assert [reserve_path(file.name, tmp_path).name for _ in range(3)] == ["a.txt", "a (1).txt", "a (2).txt"]


def test_sizes_are_said_as_people_say_them() -> None:
    """Three digits at most."""
    counts = (0, 999, 1000, 1500, 9_999, 12_345, 999_999, 1_000_000, 2_147_483_648)
    said = ("0 bytes", "999 bytes", "1.0 KB", "1.5 KB", "10 KB", "12 KB", "1.0 MB", "1.0 MB", "2.1 GB")
    assert tuple(format_size(count) for count in counts) == said


def test_pictures_that_are_none_are_told() -> None:
    """Damaged bytes, another format, and one that would be too large."""
    for content in (b"", b"RIFF\x00\x00\x00\x00WEBPVP8 ", photo()):
        with pytest.raises(UnreadableImage):
            render_image(content, 80, 24)


def test_every_command_about_files_is_done() -> None:
    """Those that are listed have a method."""
    for name in ("send", "cancel", "open", "save"):
        assert name in BY_NAME
        assert hasattr(FileCommands, name)
