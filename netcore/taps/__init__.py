"""What a virtual machine behind a tap is told of its addresses: DHCPv4 and router advertisements. Bytes in, values out, and back. Pure."""
