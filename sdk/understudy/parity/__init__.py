"""The parity ladder: the same frames through every rung of a student, box against box."""
