"""Sandboxes that follow a program of others from one namespace to the next: `berth attach --follow`."""
