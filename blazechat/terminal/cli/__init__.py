"""Command-line commands of the client: the app, and commands for scripts and webhook development."""
