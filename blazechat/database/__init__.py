"""PostgreSQL: connections, tables, migrations, and the embedded server. The only durable state."""

from blazechat import compiled_core

compiled_core.install()
