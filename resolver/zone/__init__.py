"""Names that we answer for: zones of networks, views of sandboxes. Frozen values, swapped whole. Pure."""
