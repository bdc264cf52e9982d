"""Third-party Docker plugins, networks and addresses: where they are, what is said to them and what they answer.

where ─▶ transport ─▶ network_driver, ipam_driver ─▶ controller
             messages ─────────┘
"""
