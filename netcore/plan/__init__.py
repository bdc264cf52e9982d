"""From requests to values: what a request means, given what exists. Everything is validated here, before the first effect. Pure."""
