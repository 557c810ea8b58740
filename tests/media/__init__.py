"""Looking at uploaded files."""
