"""The domain: the rules of the product and their SQL, without web frameworks and sockets."""

from blazechat import compiled_core

compiled_core.install()
