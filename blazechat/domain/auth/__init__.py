"""Authentication and authorisation: passwords, sessions, tokens, scopes, and access to chats."""
