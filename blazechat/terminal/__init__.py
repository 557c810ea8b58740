"""The terminal client: an interactive app and commands for scripts. It uses the Python SDK only."""
