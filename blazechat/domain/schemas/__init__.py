"""Public data types: HTTP and sockets return the same objects."""
