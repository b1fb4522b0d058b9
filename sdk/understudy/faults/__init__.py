"""Faults on message streams, scripted and seeded, and what must hold while they last: for our core and for any node."""
