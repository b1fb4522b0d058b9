"""How a student is taught by a teacher: terms, the sampler they share, adapters, and the teacher's answers on disk."""
