"""Loads the settings from environment, `.env` and `alembic.ini`, and says in sentences what is wrong."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blazechat.config import Settings, SettingsError, environment_name
from blazechat.database_url import DatabaseAddress, merge
from blazechat.setting_errors import expectation
from blazechat.setting_sources import (
    ALEMBIC_FILE,
    PREFIX,
    alembic_url,
    contradictions,
    given_settings,
    unknown_names,
)


def load(alembic_file: Path = ALEMBIC_FILE, **overrides: Any) -> Settings:
    """Read the settings. `overrides` (by field name) take precedence over the environment, and that over
    `.env`.

    `database_url` of the result names the database, whichever settings named it. Raises SettingsError,
    which names each wrong variable and says what is expected.
    """
    given = {
        environment_name(name) if Settings.model_fields[name].validation_alias else name: value
        for name, value in overrides.items()
        if value is not None
    }
    try:
        if sentences := contradictions(given_settings(), _unprefixed_names()):
            raise SettingsError("\n".join(sentences))
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsError(_as_sentences(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {error}") from None
    except ValueError as error:
        raise SettingsError(str(error)) from None
    settings.database_url = _database_url(settings, alembic_file)
    return settings


def unknown_settings() -> list[str]:
    """Return a sentence per variable that looks like a setting and is none, with the nearest setting.

    They are no errors: an environment may hold variables of other programs. Raises what `load()` raises.
    """
    try:
        return unknown_names(given_settings(), {environment_name(name) for name in Settings.model_fields})
    except (OSError, ValueError) as error:
        raise SettingsError(f".env cannot be read: {error}") from None


def _unprefixed_names() -> set[str]:
    names = {environment_name(name) for name in Settings.model_fields}
    return {name for name in names if not name.startswith(PREFIX)}


def _as_sentences(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        place = str(problem["loc"][0]) if problem["loc"] else ""
        by_name = {environment_name(name): name for name in Settings.model_fields}
        name = by_name.get(place.upper().removeprefix(PREFIX)) or by_name.get(PREFIX + place.upper(), place)
        lines.append(f"{environment_name(name)}: {expectation(Settings.model_fields[name], problem)}.")
    return "\n".join(dict.fromkeys(lines))


def _database_url(settings: Settings, alembic_file: Path) -> str | None:
    """Return the URL of the configured database; None for the embedded one.

    `DATABASE_URL`, the five parts and Alembic's configuration must agree where they name the same thing.
    """
    named = []
    if settings.database_url is not None:
        named.append(("DATABASE_URL", DatabaseAddress.parse(settings.database_url)))
    parts = {
        "DATABASE_HOSTNAME": settings.database_hostname,
        "DATABASE_PORT": "" if settings.database_port is None else str(settings.database_port),
        "DATABASE_NAME": settings.database_name,
        "DATABASE_USERNAME": settings.database_username,
        "DATABASE_PASSWORD": settings.database_password,
    }
    if any(parts.values()):
        host, port, name, user, password = parts.values()
        address = DatabaseAddress(host=host, port=port, name=name, user=user, password=password)
        named.append((" and ".join(name for name, value in parts.items() if value), address))
    try:
        url = alembic_url(alembic_file)
        if url is not None:
            named.append((_place_of_url(alembic_file), _parsed(url, alembic_file)))
        merged = merge(named)
    except (OSError, ValueError) as error:
        raise SettingsError(str(error)) from None
    if any(parts.values()):
        _require_host_name_and_user(merged)
    if [source for source, _ in named] == ["DATABASE_URL"]:
        return settings.database_url  # as it is written
    return merged.text if named else None


def _place_of_url(alembic_file: Path) -> str:
    return f"sqlalchemy.url in {alembic_file.name}"


def _parsed(url: str, alembic_file: Path) -> DatabaseAddress:
    try:
        return DatabaseAddress.parse(url)
    except ValueError as error:
        raise ValueError(f"{_place_of_url(alembic_file)} {error}.") from None


def _require_host_name_and_user(address: DatabaseAddress) -> None:
    given = {
        "DATABASE_HOSTNAME": address.host,
        "DATABASE_NAME": address.name,
        "DATABASE_USERNAME": address.user,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise SettingsError(f"{' and '.join(missing)}: must be set as well, to name the database.")
