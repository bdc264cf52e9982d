"""What a virtual machine behind a tap is told of its addresses: DHCPv4 messages (RFC 2131). Pure."""
