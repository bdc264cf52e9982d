"""Kernel objects that must exist, their order and their difference, and what files and firewalls must hold. Pure."""
