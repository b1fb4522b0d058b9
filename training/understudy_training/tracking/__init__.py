"""What a run leaves about itself: metrics, environment, code, loggers. All from outside the loop."""
