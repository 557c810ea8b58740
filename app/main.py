"""Entry point for `uvicorn app.main:app`."""

import sys

from blazechat.config import SettingsError
from blazechat.setting_loader import load, unknown_settings
from blazechat.web import create_app

try:
    app = create_app(load())
    for sentence in unknown_settings():
        print(sentence, file=sys.stderr)
except SettingsError as error:
    raise SystemExit(f"A setting is wrong.\n{error}") from error
