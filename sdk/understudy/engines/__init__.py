"""Runtimes behind one small contract."""
