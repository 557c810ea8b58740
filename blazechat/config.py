"""Every setting, its default and what it does: from the environment, or `.env` in the working folder.

The names without a prefix are those of the documents this server grew from; all others start with
`BLAZECHAT_`. `docs/operations.md` lists them for those who run a server.
"""

import re
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MEDIA_STORES = ("s3", "gs", "az")
KEY_BYTES = 32
"""RFC 7518 section 3.2: a key for HS256 has at least as many bits as the hash."""


class SettingsError(Exception):
    """A setting is wrong. The text names it and says what would be right."""


def _plain(name: str) -> AliasChoices:
    """The variable as the seeds' documents name it, with our prefix as a second spelling."""
    return AliasChoices(name, f"BLAZECHAT_{name}")


class Settings(BaseSettings):
    """What an operator can choose. Build with `load()`, which words errors for people."""

    model_config = SettingsConfigDict(
        env_prefix="BLAZECHAT_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        validate_default=False,
        hide_input_in_errors=True,
    )

    # Where
    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for all.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes any free one.")
    data_dir: Path = Field(
        Path("blazechat-data"),
        description="Folder of the embedded database, the secret key and the logs.",
    )

    # Database
    database_url: str | None = Field(
        None,
        validation_alias=_plain("DATABASE_URL"),
        description="`postgresql://…` of PostgreSQL 14 or newer; without it, the embedded one.",
    )
    database_pool: int = Field(
        8, ge=2, le=200, description="Connections for everything but sending messages."
    )
    postgres_options: str = Field(
        "",
        description="More settings of the embedded PostgreSQL: `shared_buffers=1GB work_mem=16MB`.",
    )

    # Tokens and passwords
    secret_key: str | None = Field(
        None,
        validation_alias=_plain("SECRET_KEY"),
        repr=False,
        description="Signs access tokens, 32 characters or more; without it, one is made and kept"
        " in the data folder.",
    )
    algorithm: Literal["HS256", "HS384", "HS512"] = Field(
        "HS256", validation_alias=_plain("ALGORITHM"), description="How access tokens are signed."
    )
    access_token_expire_minutes: int = Field(
        30,
        ge=1,
        le=1440,
        validation_alias=_plain("ACCESS_TOKEN_EXPIRE_MINUTES"),
        description="Life of an access token, in minutes.",
    )
    session_days: int = Field(
        30, ge=1, le=3650, description="Days after which a session that was not refreshed ends."
    )
    bcrypt_rounds: int = Field(
        12, ge=4, le=16, description="Cost of a password hash; each step doubles the time."
    )
    hashing_threads: int = Field(
        1, ge=1, le=64, description="Password hashes computed at once, beside the chatting."
    )
    password_min_length: int = Field(
        6, ge=1, le=72, description="Characters that a new password must have."
    )
    registration: Literal["open", "invitation", "closed"] = Field(
        "open", description="Who may register; the very first account always can."
    )
    login_attempts_per_user: int = Field(
        10, ge=1, le=10_000, description="Failed log-ins to one account within five minutes."
    )
    login_attempts_per_address: int = Field(
        100, ge=1, le=1_000_000, description="Failed log-ins from one address within five minutes."
    )

    # Limits
    max_body_bytes: int = Field(
        1_048_576, ge=1024, le=1_073_741_824, description="Largest body of an HTTP request."
    )
    max_frame_bytes: int = Field(
        262_144, ge=65_536, le=16_777_216, description="Largest message on a socket."
    )
    max_chat_members: int = Field(10_000, ge=2, le=1_000_000, description="Members that one chat can have.")
    max_queued_sends: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Sends that may wait for the database; more are busy.",
    )
    send_timeout: float = Field(
        10.0, ge=0.1, le=300, description="Seconds that a send waits for a database that is away."
    )
    outbox_bytes: int = Field(
        1_048_576,
        ge=65_536,
        le=1_073_741_824,
        description="Bytes that may wait for one slow socket before it is closed.",
    )

    # Files
    media_store: str = Field(
        "",
        description="Where files lie: `s3://bucket/folder`, `gs://…`, `az://…`, or a folder;"
        " without it, `media` in the data folder.",
    )
    max_file_bytes: int = Field(
        2_147_483_648, ge=1, le=2**50, description="Largest file that can be uploaded."
    )
    media_quota_bytes: int = Field(
        10_737_418_240, ge=1, le=2**60, description="Bytes of files that one user can keep."
    )
    media_types: Annotated[list[str], NoDecode] = Field(
        ["*/*"],
        min_length=1,
        description="Types of files that are taken, by what their bytes say, separated by commas:"
        " `image/*,audio/*,application/pdf`.",
    )
    media_hours: float = Field(
        24.0,
        gt=0,
        le=8760,
        description="Hours after which a file that no message has, or an upload that stands still,"
        " disappears.",
    )
    media_rate_beside_chat: int = Field(
        15_000_000,
        ge=0,
        le=10**12,
        description="Bytes a second that all uploads together bring while people chat; 0 for any number."
        " Without messages they are as fast as they can.",
    )
    max_image_pixels: int = Field(
        64_000_000, ge=1, le=1_000_000_000, description="Pixels of the largest image that is taken."
    )
    media_processes: int = Field(
        1, ge=1, le=64, description="Processes that look at files and make thumbnails."
    )
    media_seconds: float = Field(20.0, gt=0, le=600, description="Time that looking at one file may take.")
    media_memory_bytes: int = Field(
        1_073_741_824, ge=134_217_728, le=2**40, description="Memory of a process that looks at files."
    )

    # Sockets
    heartbeat_seconds: float = Field(
        25.0, ge=1, le=3600, description="Silence after which a socket is asked for a sign of life."
    )
    login_frame_seconds: float = Field(
        5.0, ge=0.1, le=60, description="Time that an open socket has for logging in."
    )
    commands_per_second: int = Field(
        100, ge=1, le=1_000_000, description="Commands that one socket may send, in the long run."
    )
    command_burst: int = Field(
        500, ge=1, le=1_000_000, description="Commands that one socket may send at once."
    )
    sockets_per_user: int = Field(
        100, ge=1, le=100_000, description="Sockets that one user can have open on a server."
    )
    resume_limit: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="Changes of a chat that are told one by one; who missed more loads it anew.",
    )
    presence_grace_seconds: float = Field(
        10.0, ge=0, le=600, description="Time for which somebody whose last socket has gone counts as here."
    )

    # Webhooks
    hook_messages_per_minute: int = Field(
        120, ge=1, le=1_000_000, description="Messages that one incoming webhook may post in a minute."
    )
    webhook_allowed_hosts: str = Field(
        "",
        description="Hosts and networks that webhooks may call although they are not public,"
        " separated by commas: `hooks.internal,10.0.0.0/8`.",
    )
    webhook_timeout: float = Field(15.0, gt=0, le=300, description="Seconds that one call may take.")
    webhook_retry_seconds: Annotated[list[float], NoDecode] = Field(
        [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
        max_length=100,
        description="Seconds between the tries of an event; after the last it is given up.",
    )
    webhook_disable_days: float = Field(
        5.0, gt=0, le=365, description="Days of failing after which a webhook is disabled."
    )
    webhook_log_days: float = Field(
        30.0, gt=0, le=3650, description="Days for which it is kept what was delivered or given up."
    )

    # Web
    public_url: str = Field(
        "",
        description="How this server is reached from outside, for the URLs that it gives to other programs:"
        " `https://chat.example.com`; otherwise as whoever asks has reached it.",
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        [],
        description="Origins of web pages that may use this server besides its own,"
        " separated by commas: `https://chat.example.com`; `*` for all.",
    )

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least that is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="`auto`: text on a terminal, JSON lines otherwise."
    )
    access_log: bool = Field(False, description="Log every request; those that failed are always logged.")

    @field_validator("allowed_origins", "media_types", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [part.strip().rstrip("/") for part in value.split(",") if part.strip()]

    @field_validator("webhook_retry_seconds", mode="before")
    @classmethod
    def _split_numbers(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("webhook_retry_seconds")
    @classmethod
    def _check_retries(cls, value: list[float]) -> list[float]:
        if not all(0 <= each <= 30 * 86_400 for each in value):
            raise ValueError("each must be a number of seconds, at most thirty days: 5,300,1800")
        return value

    @field_validator("media_types")
    @classmethod
    def _check_media_types(cls, value: list[str]) -> list[str]:
        if not all(re.fullmatch(r"(\*/\*|[\w.+\-]+/(\*|[\w.+\-]+))", each) for each in value):
            raise ValueError("each must look like image/png, image/* or */*")
        return value

    @field_validator("media_store")
    @classmethod
    def _check_media_store(cls, value: str) -> str:
        if "://" in value and value.partition("://")[0] not in MEDIA_STORES:
            raise ValueError(f"must be a folder, or a URL with one of {', '.join(MEDIA_STORES)}://")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            parts = urlsplit(origin)
            if origin != "*" and (parts.scheme not in ("http", "https") or parts.path):
                raise ValueError("each must look like https://chat.example.com, without a path")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (
            parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment
        ):
            raise ValueError("must look like https://chat.example.com")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, mark, rest = value.partition("://")
        scheme = scheme.partition("+")[0]  # postgresql+asyncpg:// is SQLAlchemy's spelling
        if not mark or scheme not in ("postgresql", "postgres"):
            raise ValueError("must look like postgresql://user:password@host:5432/database")
        return f"postgresql://{rest}"

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: str | None) -> str | None:
        if value is not None and len(value.encode()) < KEY_BYTES:
            raise ValueError(
                f"must have at least {KEY_BYTES} characters; make one with:"
                ' python -c "import secrets; print(secrets.token_hex(32))"'
            )
        return value

    @field_validator("postgres_options")
    @classmethod
    def _check_postgres_options(cls, value: str) -> str:
        if any("=" not in part for part in value.split()):
            raise ValueError("must be name=value pairs separated by spaces")
        return value


def variable_of(field: str) -> str:
    """The environment variable that sets a field of `Settings`."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return f"BLAZECHAT_{field.upper()}"


def load(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (by field name) go before environment and `.env`.

    Raises SettingsError, which names each wrong variable and says what would be right.
    """
    given = {
        variable_of(name) if Settings.model_fields[name].validation_alias else name: value
        for name, value in overrides.items()
        if value is not None
    }
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_in_words(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {error}") from None


def _in_words(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        place = str(problem["loc"][0]) if problem["loc"] else ""
        name = variable_of(place) if place in Settings.model_fields else place
        lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}.")
    return "\n".join(lines)


def media_place(settings: Settings) -> Path | str:
    """Where files lie: a folder, or the URL of a bucket."""
    if "://" in settings.media_store:
        return settings.media_store
    return Path(settings.media_store) if settings.media_store else settings.data_dir / "media"


def secret_key_of(settings: Settings) -> str:
    """The configured key, or the one kept in the data folder, made there on the first call."""
    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.data_dir / "secret.key"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        _write_once(path, secrets.token_hex(KEY_BYTES))
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(
            f"SECRET_KEY: {path} cannot be used ({error.strerror}); set SECRET_KEY instead."
        ) from error
    if len(key) < KEY_BYTES:
        raise SettingsError(f"SECRET_KEY: {path} holds no key; remove the file or set SECRET_KEY.")
    return key


def _write_once(path: Path, text: str) -> None:
    """Create `path` (0600) with `text` unless it exists; whole or not at all, whoever races."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600, exist_ok=False)
    try:
        draft.write_text(text + "\n", encoding="ascii")
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
