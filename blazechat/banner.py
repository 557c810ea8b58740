"""What `blazechat serve` prints once it accepts connections."""

import shutil

from blazechat import __version__, listening
from blazechat.config import Settings

MAX_COLUMNS = 100
NO_TLS_WARNING = """\
  warning     Other machines can connect, and there is no TLS: passwords and messages travel unencrypted.
              Put a reverse proxy with TLS in front (docs/operations.md)."""


def banner(settings: Settings, port: int, *, database: str, command: str) -> str:
    """Return the banner of a server on `port`. `database` is the database in words; `command` is how this
    program was called."""
    urls = listening.urls(settings.host, port)
    # Commands for this machine: the loopback address, which comes last, works on every network.
    url = urls[-1]
    lines = [
        f"\nBlazeChat {__version__}",
        "─" * min(shutil.get_terminal_size().columns, MAX_COLUMNS),
        f"  listening   {urls[0]}"
        if len(urls) == 1
        else "  listening   on all interfaces of this machine:",
    ]
    if len(urls) > 1:
        lines += [f"              {each}" for each in urls]
    if listening.is_reachable_from_outside(settings.host):
        lines += [NO_TLS_WARNING]
    lines += [
        f"  database    {database}",
        f"  API docs    {url}/docs",
        f"  chat        {command} chat {url}",
        "  first user  (becomes the administrator)\n",
        f"    curl {url}/api/auth/register -H 'content-type: application/json' \\",
        '      -d \'{"username":"alice","email":"alice@example.com","password":"wonderland"}\'\n',
        "  Ctrl-C stops it.",
        lines[1],
    ]
    return "\n".join(lines)
