"""The doors to the kernel: rtnetlink, nftables, conntrack, namespaces, sysctl, /proc. All blocking: for worker threads only."""
