"""Network drivers: pure functions from (network, endpoints, facts about the host) to the objects that must exist."""
