"""Entry point for `uvicorn app.main:app`."""

from blazechat.config import SettingsError
from blazechat.setting_loader import load
from blazechat.web import create_app

try:
    app = create_app(load())
except SettingsError as error:
    raise SystemExit(f"A setting is wrong.\n{error}") from error
