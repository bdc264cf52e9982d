"""What several hosts share: overlay networks, their addresses and endpoints, in a store that all of them reach.

encryption ─▶ state ─▶ publications, shared_pools ─▶ cluster ─▶ controller
"""
