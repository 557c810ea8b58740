"""What the slash commands of the terminal app do."""
