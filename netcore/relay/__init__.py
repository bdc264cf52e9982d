"""Ports of the host: held for the sandboxes that publish them, and relayed where the kernel's NAT can't carry them.

host_ports ─────────────────────────────────┐
clients ─▶ tcp_relay, udp_relay ─▶ port_proxy ─▶ controller
"""
