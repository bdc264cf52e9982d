"""What several hosts share: overlay networks, their addresses and endpoints, in etcd.

picture ─▶ cluster ─▶ controller
"""
