"""The daemon: configuration, registry of names, admin API, start and stop. The only part that knows both halves."""
