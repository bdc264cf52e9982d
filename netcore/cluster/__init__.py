"""What several hosts share: overlay networks, their addresses and endpoints, in etcd.

state ─▶ cluster ─▶ controller
"""
