"""Settings as the environment, `.env` and `alembic.ini` have them, before config.py merges them.

Finds what a merge would hide: unknown names, two spellings of one setting, and a database that only
Alembic's configuration names.
"""

import configparser
import difflib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import parse_stream

PREFIX = "BLAZECHAT_"
ENV_FILE = Path(".env")
ALEMBIC_FILE = Path("alembic.ini")
ENVIRONMENT = "the environment"
CLIENT_VARIABLES = frozenset({"BLAZECHAT_ACCOUNT", "BLAZECHAT_CLIENT_DIR"})
"""Variables that the terminal client reads; docs/terminal.md describes them."""
MIGRATIONS = ("blazechat", "database", "migrations")


@dataclass(frozen=True, slots=True)
class GivenSetting:
    """A variable with a value that is not empty. Its name is in upper case."""

    name: str
    value: str = field(repr=False)
    source: str
    """`the environment` or the name of a file."""


def given_settings(env_file: Path = ENV_FILE) -> list[GivenSetting]:
    """Return all variables of the environment and of `env_file`, others' included.

    Raises ValueError with a sentence if a line of the file is not `NAME=value`; OSError and
    UnicodeDecodeError if the file cannot be read.
    """
    found = [GivenSetting(name.upper(), value, ENVIRONMENT) for name, value in os.environ.items() if value]
    if env_file.is_file():
        found += _settings_of_file(env_file)
    return found


def _settings_of_file(file: Path) -> Iterator[GivenSetting]:
    with file.open(encoding="utf-8") as stream:
        for line in parse_stream(stream):
            if line.error:
                number = (
                    line.original.line + len(line.original.string) - len(line.original.string.lstrip("\n"))
                )
                raise ValueError(f"Line {number} of {file} is not NAME=value.")
            if line.key and line.value:
                yield GivenSetting(line.key.upper(), line.value, str(file))


def contradictions(given: Iterable[GivenSetting], names: Collection[str]) -> list[str]:
    """Return a sentence per setting of `names` that one source has twice, with and without the prefix, and
    not with the same value."""
    values = {(each.source, each.name): each.value for each in given}
    return [
        f"{name} and {PREFIX}{name} in {source} differ. Remove one of them."
        for (source, name), value in values.items()
        if name in names and values.get((source, PREFIX + name), value) != value
    ]


def unknown_names(given: Iterable[GivenSetting], known: Collection[str]) -> list[str]:
    """Return a sentence per variable that begins with the prefix and is not known, with the nearest one."""
    by_name = {name.removeprefix(PREFIX): name for name in known}
    sentences = []
    for each in given:
        name = each.name.removeprefix(PREFIX)
        if name == each.name or name in by_name or each.name in CLIENT_VARIABLES:
            continue
        nearest = difflib.get_close_matches(name, by_name, n=1)
        advice = f"the nearest one is {by_name[nearest[0]]}" if nearest else "docs/operations.md lists them"
        sentences.append(f"{each.name} in {each.source} is not a setting of BlazeChat; {advice}.")
    return sentences


def alembic_url(file: Path = ALEMBIC_FILE) -> str | None:
    """Return `sqlalchemy.url` of an Alembic configuration; None without one, or if it is another program's.

    Alembic reads `%%` as `%`; a single `%`, as in a percent-encoded password, is accepted as well. Raises
    ValueError with a sentence if the file cannot be parsed; OSError.
    """
    if not file.is_file():
        return None
    parser = configparser.ConfigParser({"here": str(file.absolute().parent)}, interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {str(error).splitlines()[0]}.") from error
    location = parser.get("alembic", "script_location", fallback="").replace(":", "/")
    url = parser.get("alembic", "sqlalchemy.url", fallback="").strip()
    if Path(location).parts[-len(MIGRATIONS) :] != MIGRATIONS or not url:
        return None
    return url.replace("%%", "%")
