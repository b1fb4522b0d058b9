"""Faults on the topics of a running node, and whether it survives them."""
