"""What the product does, without frameworks and sockets."""
