"""The domain: the rules of the product and their SQL, without web frameworks and sockets."""
