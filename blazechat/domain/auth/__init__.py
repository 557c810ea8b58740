"""Who may do what: log-in, sessions, tokens, and access to chats."""
