"""Public data types: the same objects over HTTP and sockets."""
