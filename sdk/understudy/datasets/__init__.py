"""Data sets behind one typed interface: frames and labels, lazy and indexed."""
