"""Detection without labels: boxes from clusters and 2D cues, then rounds of self-training (LiSe, arXiv 2407.08569)."""
