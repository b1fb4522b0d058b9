"""Procedural driving scenes: seeded streets seen by a ray-cast LiDAR and camera, with exact labels."""
