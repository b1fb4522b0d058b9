"""Where networks are made: teachers, students, distillation, export. torch lives here and nowhere else."""
