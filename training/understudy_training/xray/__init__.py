"""X-Ray Distillation (arXiv 2404.00679): the teacher sees objects whole, gathered over their drive; students do not."""
