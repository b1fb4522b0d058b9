"""Calibration of activations (INT8 ranges, Q/DQ placement) and, later, of sensors. No torch."""
