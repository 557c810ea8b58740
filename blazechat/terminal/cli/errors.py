"""Exit codes of the `blazechat` command, and the error that ends it with a sentence on standard error."""

EXIT_REFUSED = 1
"""The server refused the request, or the command failed on this machine."""
EXIT_USAGE = 2
EXIT_LOGGED_OUT = 3
"""No account is logged in, the session has ended, or the user name or password is wrong."""
EXIT_UNREACHABLE = 4
"""The server cannot be reached, is not available, or is not a BlazeChat server."""
EXIT_NO_CHAT = 5
"""There is no such chat or user, or the user is no longer a member of the chat."""
EXIT_INTERRUPTED = 130
"""Ctrl-C: 128 and the number of SIGINT, as shells report it."""


class CommandError(Exception):
    """Ends the command with `exit_code`. The text says what happened and what the user can do."""

    def __init__(self, text: str, exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def printable(text: str) -> str:
    """Return an error's text, safe to print: it can contain text from a server. Line breaks stay."""
    from blazechat.terminal import sanitize

    return "\n".join(sanitize.lines(text))
