"""The door for `uvicorn app.main:app`."""

from blazechat.config import load
from blazechat.server import create_app

app = create_app(load())
