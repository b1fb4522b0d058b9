"""Inference of one network over many bags and data sets: planned, shared out, resumed, merged."""
