"""The only home of zmq: sockets, codec, security, discovery; and a network in memory behind the same interface."""
