"""Activation calibration: ranges from real frames, Q/DQ for TensorRT, and the CPU twin made of it."""
