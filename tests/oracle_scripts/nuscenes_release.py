"""What nuscenes-devkit makes of a release: order, boxes, velocities, accumulated clouds, point classes, splits."""

from __future__ import annotations

import sys

import numpy as np
from nuscenes.eval.lidarseg.utils import LidarsegClassMapper
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.data_io import load_bin_file
from nuscenes.utils.splits import create_splits_scenes

LIDAR = "LIDAR_TOP"
root, out, num_sweeps, min_distance_m = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
release = NuScenes("v1.0-mini", root, verbose=False)
coarse = LidarsegClassMapper(release)
answer: dict[str, object] = {}
keys = []
for scene in release.scene:
    token = scene["first_sample_token"]
    while token:
        keys.append(token)
        sample = release.get("sample", token)
        data = sample["data"][LIDAR]
        _, in_lidar, _ = release.get_sample_data(data)
        annotations = [release.get("sample_annotation", own) for own in sample["anns"]]
        answer[f"{token}/names"] = np.array([entry["category_name"] for entry in annotations], np.str_)
        answer[f"{token}/global"] = np.array([release.get_box(own).center for own in sample["anns"]])
        answer[f"{token}/lidar"] = np.array([box.center for box in in_lidar])
        answer[f"{token}/corners"] = np.array([box.corners().T for box in in_lidar])
        answer[f"{token}/velocities"] = np.array([release.box_velocity(own) for own in sample["anns"]])
        cloud, ages = LidarPointCloud.from_file_multisweep(
            release, sample, LIDAR, LIDAR, nsweeps=num_sweeps, min_distance=min_distance_m
        )
        answer[f"{token}/points"], answer[f"{token}/ages"] = cloud.points.T, ages[0]
        classes = load_bin_file(f"{root}/{release.get('lidarseg', data)['filename']}", type="lidarseg")
        answer[f"{token}/classes"], answer[f"{token}/coarse"] = classes, coarse.convert_label(classes)
        token = sample["next"]
answer["keys"] = np.array(keys, np.str_)
for name, scenes in create_splits_scenes().items():
    answer[f"split/{name}"] = np.array(scenes, np.str_)
np.savez(out, **answer)
