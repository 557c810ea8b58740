"""PostgreSQL: connections, tables, migrations, and the embedded server. The only durable state."""
