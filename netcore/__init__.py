"""Linux networking for sandboxes: namespaces, bridges, addresses, firewall, hosts files. Imports nothing by itself."""
