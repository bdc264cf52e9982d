"""Where the state of networks, sandboxes and endpoints is kept: one small protocol, one implementation for one host."""
