"""Who is listening."""

from blazechat import compiled_core

compiled_core.install()
