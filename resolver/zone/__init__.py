"""Names that we are authoritative for: the zones of networks and their records. Frozen values, swapped whole. Pure."""
