"""Background work: webhook delivery, calls of slash commands, and the sweeper."""
