"""The commands that begin with a slash: what they are called, and what they take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SlashCommandHelp:
    """`usage` names what follows the name, in square brackets what may be left out."""

    name: str
    usage: str
    help: str


COMMANDS = (
    SlashCommandHelp("help", "", "show the keys and commands"),
    SlashCommandHelp("dm", "@user", "open the direct chat with somebody"),
    SlashCommandHelp("group", "name [@user …]", "make a group"),
    SlashCommandHelp("add", "@user …", "add people to this group"),
    SlashCommandHelp("remove", "@user …", "remove people from this group"),
    SlashCommandHelp("members", "", "show who is in this chat"),
    SlashCommandHelp("role", "@user owner|admin|member", "change a role"),
    SlashCommandHelp("rename", "name", "give this group another name"),
    SlashCommandHelp("history", "all|joined", "who may read what was said before they joined"),
    SlashCommandHelp("leave", "", "leave this group"),
    SlashCommandHelp("delete-chat", "", "delete this chat for everybody"),
    SlashCommandHelp("edit", "[text]", "edit the chosen message, else your last one"),
    SlashCommandHelp("delete", "", "delete the chosen message, else your last one"),
    SlashCommandHelp("reply", "text", "reply to the chosen message, else the last one"),
    SlashCommandHelp("react", "emoji", "react to the chosen message, else the last one"),
    SlashCommandHelp("unreact", "emoji", "take a reaction back"),
    SlashCommandHelp("pin", "", "pin the chosen message, or unpin it"),
    SlashCommandHelp("send", "file [text]", "send a file; a name with spaces in quotes"),
    SlashCommandHelp("cancel", "", "stop the files that are on their way"),
    SlashCommandHelp("open", "", "show the picture, or open the file, of the chosen message, else the last one"),
    SlashCommandHelp("save", "[folder or name]", "save the file of the chosen message, else the last one"),
    SlashCommandHelp("pins", "", "show what is pinned here"),
    SlashCommandHelp("find", "text", "find it in the messages that are loaded"),
    SlashCommandHelp("unsent", "", "show what could not be sent"),
    SlashCommandHelp("status", "online|away|offline", "choose how you are shown"),
    SlashCommandHelp("name", "your name", "change your display name"),
    SlashCommandHelp("notify", "on|off", "call you for mentions and direct messages"),
    SlashCommandHelp("theme", "dark|light|name", "change the colours"),
    SlashCommandHelp("sessions", "", "show where you are logged in"),
    SlashCommandHelp("accounts", "", "change to another account or server"),
    SlashCommandHelp("logout", "", "log out on this machine"),
    SlashCommandHelp("quit", "", "leave BlazeChat"),
)
CHAT_COMMAND = "other"
BY_NAME = {command.name: command for command in COMMANDS}


class UsageError(Exception):
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
        return CHAT_COMMAND, text.strip()
    return name, rest.strip()


def usage_error(name: str) -> UsageError:
    command = BY_NAME[name]
    return UsageError(f"Usage: /{name} {command.usage} — {command.help}.")
