"""Access to the kernel: rtnetlink, nftables, conntrack, xfrm, namespaces, sysctls, /proc. Everything blocks: for worker threads only.

`apply` carries out steps and `observe` says what exists, both with the table in `handlers`.
"""
