"""Boxes to and from other people's conventions, one module each."""
