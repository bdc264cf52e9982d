"""What users may write: names, addresses, options, ports. Text in, checked values out. Pure."""
