"""ROS messages to records and back.

Only attributes are read and a factory makes messages, so a live message and one from a bag are the same here.
"""
