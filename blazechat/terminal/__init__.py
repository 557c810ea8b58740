"""BlazeChat in the terminal: an app for people, and commands for scripts. It stands on the SDK alone."""
