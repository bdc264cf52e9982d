"""Third-party Docker plugins for networks and addresses: where they listen, what is said to them and what they answer.

discovery ─▶ client ─▶ network_driver, ipam_driver ─▶ controller
            messages ───────┘
"""
