"""The bundle: a student with everything it needs, and proof that it is what it says."""
