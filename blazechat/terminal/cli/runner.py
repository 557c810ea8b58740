"""Runs a command's coroutine, and turns errors into exit codes with a sentence."""

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import Coroutine
from typing import Any

from blazechat.terminal.cli.errors import (
    EXIT_INTERRUPTED,
    EXIT_LOGGED_OUT,
    EXIT_NO_CHAT,
    EXIT_UNREACHABLE,
    CommandError,
)


def run(command: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine to its end. Raises CommandError or SystemExit."""
    from blazechat.client import errors

    if isinstance(sys.stdout, io.TextIOWrapper):  # characters that its encoding lacks are escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        asyncio.run(command)
    except errors.LoggedOut as error:
        raise CommandError(f"{error}\nLog in with: blazechat login URL", EXIT_LOGGED_OUT) from None
    except (errors.WrongCredentials, errors.Unauthenticated) as error:
        raise CommandError(str(error), EXIT_LOGGED_OUT) from None
    except (errors.Unreachable, errors.NotBlazeChat, errors.Unavailable) as error:
        raise CommandError(str(error), EXIT_UNREACHABLE) from None
    except errors.NotFound as error:
        raise CommandError(str(error), EXIT_NO_CHAT) from None
    except errors.ApiError as error:
        others = [each for each in error.fields if each.detail != str(error)]
        details = "".join(f"\n  {each.field}: {each.detail}" for each in others)
        raise CommandError(f"{error}{details}") from None
    except BrokenPipeError:  # the reader of the pipe has ended, as `head` does; this is no error
        _discard_output()
        raise SystemExit(0) from None
    except OSError as error:
        _discard_output()
        raise CommandError(f"{error.strerror or error}: {error.filename or 'standard output'}") from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None


def _discard_output() -> None:
    """Lead standard output away: Python writes what it still holds at the end, and would exit with 120."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be closed, or not exist
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
