"""Autoware: its model-package layout, its object labels, its message of detected objects."""
