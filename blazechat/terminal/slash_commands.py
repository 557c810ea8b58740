"""The commands that begin with a slash: what they are called, and what they take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`usage` names what follows the name, in square brackets what may be left out."""

    name: str
    usage: str
    help: str


COMMANDS = (
    Command("help", "", "show the keys and commands"),
    Command("dm", "@user", "open the direct chat with somebody"),
    Command("group", "name [@user …]", "make a group"),
    Command("add", "@user …", "add people to this group"),
    Command("remove", "@user …", "remove people from this group"),
    Command("members", "", "show who is in this chat"),
    Command("role", "@user owner|admin|member", "change a role"),
    Command("rename", "name", "give this group another name"),
    Command("history", "all|joined", "who may read what was said before they joined"),
    Command("leave", "", "leave this group"),
    Command("delete-chat", "", "delete this chat for everybody"),
    Command("edit", "[text]", "edit the chosen message, else your last one"),
    Command("delete", "", "delete the chosen message, else your last one"),
    Command("reply", "text", "reply to the chosen message, else the last one"),
    Command("react", "emoji", "react to the chosen message, else the last one"),
    Command("unreact", "emoji", "take a reaction back"),
    Command("pin", "", "pin the chosen message, or unpin it"),
    Command("send", "file [text]", "send a file; a name with spaces in quotes"),
    Command("cancel", "", "stop the files that are on their way"),
    Command("open", "", "show the picture, or open the file, of the chosen message, else the last one"),
    Command("save", "[folder or name]", "save the file of the chosen message, else the last one"),
    Command("pins", "", "show what is pinned here"),
    Command("find", "text", "find it in the messages that are loaded"),
    Command("unsent", "", "show what could not be sent"),
    Command("status", "online|away|offline", "choose how you are shown"),
    Command("name", "your name", "change your display name"),
    Command("notify", "on|off", "call you for mentions and direct messages"),
    Command("theme", "dark|light|name", "change the colours"),
    Command("sessions", "", "show where you are logged in"),
    Command("accounts", "", "change to another account or server"),
    Command("logout", "", "log out on this machine"),
    Command("quit", "", "leave BlazeChat"),
)
OTHER = "other"
BY_NAME = {command.name: command for command in COMMANDS}


class WrongUsage(Exception):
    """The text says how it is done."""


def parse(text: str) -> tuple[str, str] | None:
    """The command's name and what follows it; None for a message. `//` begins a message with a slash.

    What is none of ours may be one of the chat's: that is `other`, with all that was typed.
    """
    if not text.startswith("/") or text.startswith("//"):
        return None
    name, rest = [*text[1:].split(None, 1), "", ""][:2]
    name = name.casefold()
    if name not in BY_NAME:
        return OTHER, text.strip()
    return name, rest.strip()


def usage(name: str) -> WrongUsage:
    command = BY_NAME[name]
    return WrongUsage(f"Usage: /{name} {command.usage} — {command.help}.")
