"""Programs that post into chats: incoming webhooks, slash commands, system messages."""
