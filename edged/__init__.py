"""Train one network on several unequal devices: the same daemon on each, no server."""
