"""The app's slash commands: their names, arguments and help, and the parser of a line in the composer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CommandHelp:
    """A command and its help. `usage` names the arguments; those in square brackets are optional."""

    name: str
    usage: str
    help: str


COMMANDS = (  # the most useful ones first
    CommandHelp("dm", "@user", "open the direct chat with a user"),
    CommandHelp("group", "name [@user …]", "create a group"),
    CommandHelp("send", "file [text]", "send a file; put a name with spaces in quotes"),
    CommandHelp("find", "text", "search the loaded messages"),
    CommandHelp("members", "", "list the members of this chat"),
    CommandHelp("help", "", "show the keys and commands"),
    CommandHelp("invite", "", "invite a person to this server"),
    CommandHelp("reply", "text", "reply to the selected message, or the last one"),
    CommandHelp("react", "[emoji]", "react to the selected message, or the last one"),
    CommandHelp("edit", "[text]", "edit the selected message, or your last one"),
    CommandHelp("delete", "", "delete the selected message, or your last one"),
    CommandHelp("undo", "", "take back the last deletion, within ten seconds"),
    CommandHelp("pins", "", "list the pinned messages and go to one"),
    CommandHelp("pin", "", "pin or unpin the selected message, or the last one"),
    CommandHelp("open", "", "open the file or link of the selected message, or the last one"),
    CommandHelp("save", "[folder or name]", "save the file of the selected message, or the last one"),
    CommandHelp("unsent", "", "list the messages that are not sent"),
    CommandHelp("add", "@user …", "add users to this group"),
    CommandHelp("remove", "@user …", "remove users from this group"),
    CommandHelp("rename", "name", "rename this group"),
    CommandHelp("role", "@user owner|admin|member", "change a member's role"),
    CommandHelp("history", "all|joined", "which messages new members can read"),
    CommandHelp("leave", "", "leave this group"),
    CommandHelp("cancel", "", "cancel all uploads and downloads"),
    CommandHelp("unreact", "emoji", "remove your reaction"),
    CommandHelp("status", "online|away|offline", "set your status"),
    CommandHelp("name", "your name", "change your display name"),
    CommandHelp("notify", "on|off", "notify you of mentions and direct messages"),
    CommandHelp("theme", "[dark|light|name]", "change the colours; without a name, list the themes"),
    CommandHelp("width", "20…1000", "change the maximum width of text, in columns"),
    CommandHelp("sessions", "", "list your sessions, end one or all others"),
    CommandHelp("accounts", "", "switch to another account or server"),
    CommandHelp("logout", "", "log out on this machine"),
    CommandHelp("quit", "", "quit BlazeChat"),
    CommandHelp("delete-chat", "", "delete this chat for all members"),
)
CHAT_COMMAND = "chat_command"
"""The name that `parse` returns for a command that is not one of the app's."""
BY_NAME = {command.name: command for command in COMMANDS}


class UsageError(Exception):
    """A command cannot be run as it was typed. The text is for the user and says what to type."""


def parse(text: str) -> tuple[str, str] | None:
    """Return the command's name and its arguments; None if the text is a message.

    A message that starts with a slash is typed with two. A command that the app does not have might be one
    of the chat's: the result is `CHAT_COMMAND` with the whole text.
    """
    if not text.startswith("/") or text.startswith("//"):
        return None
    name, arguments = [*text[1:].split(None, 1), "", ""][:2]
    name = name.casefold()
    if name not in BY_NAME:
        return CHAT_COMMAND, text.strip()
    return name, arguments.strip()


def values_of(name: str) -> list[str]:
    """Return the values that a command accepts, if its usage lists them."""
    usage = BY_NAME[name].usage if name in BY_NAME else ""
    return usage.split("|") if "|" in usage and " " not in usage and "[" not in usage else []


def usage_error(name: str) -> UsageError:
    """Return an error that explains the usage of a command."""
    command = BY_NAME[name]
    return UsageError(f"Usage: /{name} {command.usage} — {command.help}.")
