"""Messages: the ledger that stores them, and everything that reads or changes them."""
