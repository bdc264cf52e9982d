"""Ports of the host: held for those who publish them, and relayed where the kernel's NAT can't carry them."""
