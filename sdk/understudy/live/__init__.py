"""What a node does between a message and its result, without ROS: newest sweep first, nothing lost uncounted."""
