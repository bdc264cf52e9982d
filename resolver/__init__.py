"""The per-network embedded DNS resolver, and the daemon, admin API and command line around it. Imports nothing by itself."""
