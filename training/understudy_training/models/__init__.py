"""The pillar detector family: one configuration, from teacher to the smallest student."""
