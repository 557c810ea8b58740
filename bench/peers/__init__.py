"""Other chat servers under the same load as ours, in turns: `make bench ONLY=peers`."""
