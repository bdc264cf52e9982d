"""What `berth host-dns` changes so that the host's name server sends names below the suffix to the daemon, and how it takes that back.

`setups` says what each kind of name server needs, `detect` which one a host has; both are pure. `apply` reads and writes.
"""
