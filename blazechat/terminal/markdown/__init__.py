"""Markdown in messages: the parser, its rules, and how its result is drawn in the terminal."""
