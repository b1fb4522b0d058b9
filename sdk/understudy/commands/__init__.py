"""Verbs of the runtime: parse, call one library function, print."""
