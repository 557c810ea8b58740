"""Settings: names, defaults, descriptions, and errors that say what is expected."""

import re
import stat
from pathlib import Path

import pytest

import blazechat
from blazechat.config import Settings, SettingsError, environment_name
from blazechat.secret_key import secret_key_of
from blazechat.setting_loader import load, unknown_settings
from blazechat.setting_sources import CLIENT_VARIABLES


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_names_without_prefix_and_the_env_file(tmp_path: Path) -> None:
    """`.env` is read, unknown names in it are ignored, and arguments take precedence over it."""
    (tmp_path / ".env").write_text(
        "DATABASE_URL=postgresql://user:password@localhost/blazechat\n"
        f"SECRET_KEY={'ab' * 32}\nALGORITHM=HS512\nACCESS_TOKEN_EXPIRE_MINUTES=15\n"
        "BLAZECHAT_PORT=9000\nUNRELATED=1\n"
    )
    settings = load()
    assert settings.database_url == "postgresql://user:password@localhost/blazechat"
    assert settings.secret_key == "ab" * 32
    assert (settings.algorithm, settings.access_token_expire_minutes) == ("HS512", 15)
    assert settings.port == 9000
    assert load(port=1).port == 1


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("DATABASE_URL", "nonsense", "postgresql://"),
        ("SECRET_KEY", "your_secret_key_here", "32"),
        ("ALGORITHM", "none", "HS256"),
        ("ALGORITHM", "RS256", "HS256"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0", "1"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "soon", "a whole number from 1 to 1440"),
        ("BLAZECHAT_MEDIA_SECONDS", "0", "a number greater than 0, at most 600"),
        ("BLAZECHAT_ACCESS_LOG", "perhaps", "true or false"),
        ("BLAZECHAT_WEBHOOK_RETRY_SECONDS", "5,soon", "numbers, separated by commas"),
        ("DATABASE_URL", "postgresql://alice:pass/word@host/chat", "%2F"),
        ("BLAZECHAT_PORT", "99999", "65535"),
        ("BLAZECHAT_REGISTRATION", "maybe", "open"),
        ("BLAZECHAT_ALLOWED_ORIGINS", "chat.example.com", "https://"),
        ("BLAZECHAT_BCRYPT_ROUNDS", "99", "16"),
        ("BLAZECHAT_POSTGRES_OPTIONS", "work_mem", "name=value"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    """The error names the variable, says what is expected, and does not repeat a secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load()
    assert str(error.value).startswith(f"{name}: ")
    assert hint in str(error.value)
    assert value not in str(error.value).replace("number", "") or name != "SECRET_KEY"
    assert "pass/word" not in str(error.value)


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLAZECHAT_PORT", "http")
    monkeypatch.setenv("BLAZECHAT_REGISTRATION", "maybe")
    with pytest.raises(SettingsError) as error:
        load()
    assert str(error.value).splitlines() == [
        "BLAZECHAT_PORT: must be a whole number from 0 to 65535.",
        "BLAZECHAT_REGISTRATION: must be one of open, invitation, closed.",
    ]


def test_a_line_of_the_env_file_that_is_no_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\n\nBLAZECHAT_PORT 9000\n")
    with pytest.raises(SettingsError, match=r"Line 3 of \.env is not NAME=value"):
        load()


def test_unknown_settings_are_named_with_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment and in `.env`; names of other programs and of the client are none of ours."""
    monkeypatch.setenv("BLAZECHAT_REGISTRATON", "a-secret")
    monkeypatch.setenv("BLAZECHAT_CLIENT_DIR", "clients")
    monkeypatch.setenv("blazechat_port", "9000")
    (tmp_path / ".env").write_text(
        "BLAZECHAT_DATABSE_URL=x\nBLAZECHAT_QQQQ=1\nOTHER=1\nBLAZECHAT_SECRET_KEY=k\n"
    )
    wrong = "is not a setting of BlazeChat"
    assert unknown_settings() == [
        f"BLAZECHAT_REGISTRATON in the environment {wrong}; the nearest one is BLAZECHAT_REGISTRATION.",
        f"BLAZECHAT_DATABSE_URL in .env {wrong}; the nearest one is DATABASE_URL.",
        f"BLAZECHAT_QQQQ in .env {wrong}; docs/operations.md lists them.",
    ]


def test_variables_of_the_client_are_known() -> None:
    """Those that the code of the terminal client names."""
    client = Path(blazechat.__file__).parent / "terminal"
    named = {
        name
        for path in client.rglob("*.py")
        for name in re.findall(r'"(BLAZECHAT_[A-Z_]+)"', path.read_text())
    }
    assert named == CLIENT_VARIABLES


PARTS = {
    "DATABASE_HOSTNAME": "db.example.com",
    "DATABASE_PORT": "5433",
    "DATABASE_NAME": "chat/one",
    "DATABASE_USERNAME": "alice",
    "DATABASE_PASSWORD": "p@s/s#%41?",
}
PARTS_URL = "postgresql://alice:p%40s%2Fs%23%2541%3F@db.example.com:5433/chat%2Fone"
OURS = "[alembic]\nscript_location = blazechat/database/migrations\nsqlalchemy.url = "


def test_five_variables_name_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Special characters are written as they are."""
    for name, value in PARTS.items():
        monkeypatch.setenv(name, value)
    assert load().database_url == PARTS_URL
    monkeypatch.setenv("DATABASE_URL", PARTS_URL)
    assert load().database_url == PARTS_URL


@pytest.mark.parametrize("written", [PARTS_URL, PARTS_URL.replace("%", "%%")])
def test_alembic_configuration_names_the_database(tmp_path: Path, written: str) -> None:
    """If it is that of BlazeChat's migrations, and with single or doubled percent signs."""
    (tmp_path / "alembic.ini").write_text(OURS + written)
    assert load().database_url == PARTS_URL
    (tmp_path / "alembic.ini").write_text(OURS.replace("blazechat/database/", "") + written)
    assert load().database_url is None


def test_a_password_can_be_apart_from_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one setting leaves out, another one completes."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://alice@db/chat?sslmode=require")
    monkeypatch.setenv("DATABASE_PASSWORD", "p@ss")
    assert load().database_url == "postgresql://alice:p%40ss@db/chat?sslmode=require"


@pytest.mark.parametrize(
    ("environment", "alembic", "words"),
    [
        ({"DATABASE_URL": "postgresql://a:secret@h/d", "DATABASE_HOSTNAME": "other"}, "", "another host"),
        ({"DATABASE_URL": "postgresql://a:secret@h/d", "DATABASE_PORT": "5433"}, "", "another port"),
        ({"DATABASE_URL": "postgresql://a:secret@h/d", "DATABASE_PASSWORD": "x"}, "", "another password"),
        ({"DATABASE_URL": "postgresql://a:secret@h/d"}, "postgresql://a@h/e", "another database"),
        (PARTS, "postgresql://bob@db.example.com:5433/chat%2Fone", "another user"),
        ({"DATABASE_URL": "postgresql://h/d", "BLAZECHAT_DATABASE_URL": "postgresql://h/e"}, "", "differ"),
        ({"DATABASE_HOSTNAME": "h"}, "", "DATABASE_NAME and DATABASE_USERNAME: must be set"),
        ({}, "driver://user:secret@localhost/dbname", "sqlalchemy.url in alembic.ini must look like"),
    ],
)
def test_settings_that_name_different_databases_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], alembic: str, words: str
) -> None:
    """Never silently one of them. The sentence has no password."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if alembic:
        (tmp_path / "alembic.ini").write_text(OURS + alembic)
    with pytest.raises(SettingsError) as error:
        load()
    assert words in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/d?sslmode=require",
        "postgres://u:p@h/d",
        "postgresql+asyncpg://u:p@h/d",
        "postgresql:///d?host=/var/run/postgresql",
    ],
)
def test_database_urls_are_passed_on_as_written(url: str) -> None:
    """Any URL that libpq accepts, and SQLAlchemy's scheme."""
    kept = load(database_url=url).database_url
    assert kept is not None
    assert kept.partition("://")[2] == url.partition("://")[2]
    assert kept.startswith("postgresql://")


def test_a_key_is_created_once_and_kept_private(tmp_path: Path) -> None:
    """Its file has mode 0600 and is reused by every start. SECRET_KEY takes precedence."""
    settings = load(data_dir=tmp_path / "data")
    key = secret_key_of(settings)
    assert len(key) == 64
    assert secret_key_of(settings) == key
    mode = (tmp_path / "data" / "secret.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert secret_key_of(load(secret_key="k" * 32)) == "k" * 32
    for damaged in (b"short", b"", b"\xff\xfe" * 40, b"\0" * 64):
        (tmp_path / "data" / "secret.key").write_bytes(damaged)
        with pytest.raises(SettingsError, match="is damaged"):
            secret_key_of(settings)


def test_secrets_are_not_printed() -> None:
    """A traceback can contain the settings."""
    settings = load(secret_key="k" * 32, database_url="postgresql://alice:wonderland@db/chat")
    assert "k" * 32 not in repr(settings)
    assert "wonderland" not in repr(settings)


def test_every_setting_is_described_with_its_bounds() -> None:
    """The settings table in the docs is compared with these descriptions."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert environment_name(name).isupper()
        for constraint in field.metadata:
            for kind in ("ge", "le"):
                bound = getattr(constraint, kind, None)
                if bound is not None:
                    number = rf"(?<![\d,.]){re.escape(_in_words(name, bound))}(?![\d,]*\d)"
                    assert re.search(number, field.description), (name, bound)


def _in_words(name: str, bound: float) -> str:
    """Return a bound as descriptions write it: sizes in binary units, other numbers with commas."""
    if name.endswith("_bytes"):
        for exponent, unit in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 1):
            if 1 <= bound / 1024**exponent < 1024:
                return f"{bound // 1024**exponent} {unit}"
    return f"{bound:,}"
