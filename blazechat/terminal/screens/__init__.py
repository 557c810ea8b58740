"""The screens of the terminal app, and the classes that load and update the chat screen."""
