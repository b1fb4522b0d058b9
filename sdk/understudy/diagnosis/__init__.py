"""What `understudy doctor` looks at: this machine, how ROS is set up on it, and the vehicle that is running."""
