"""What OpenCV makes of lenses: projected points, rays of pixels, maps and pictures; both files are npz."""

from __future__ import annotations

import sys

import cv2
import numpy as np

with np.load(sys.argv[1], allow_pickle=False) as content:
    question = dict(content)
answer = {}
zero, eye = np.zeros(3), np.eye(3)
precisely = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
for name in sorted({key.split("/")[0] for key in question}):
    matrix, lens = question[f"{name}/matrix"], question[f"{name}/coefficients"]
    points, pixels = question[f"{name}/points"].reshape(-1, 1, 3), question[f"{name}/pixels"].reshape(-1, 1, 2)
    picture, target = question[f"{name}/picture"], question[f"{name}/target"]
    size = picture.shape[1], picture.shape[0]
    if name == "equidistant":
        answer[f"{name}/projected"] = cv2.fisheye.projectPoints(points, zero, zero, matrix, lens)[0]
        answer[f"{name}/rays"] = cv2.fisheye.undistortPoints(pixels, matrix, lens, criteria=precisely)
        maps = cv2.fisheye.initUndistortRectifyMap(matrix, lens, eye, target, size, cv2.CV_32FC1)
    else:
        answer[f"{name}/projected"] = cv2.projectPoints(points, zero, zero, matrix, lens)[0]
        answer[f"{name}/rays"] = cv2.undistortPointsIter(pixels, matrix, lens, eye, eye, precisely)
        maps = cv2.initUndistortRectifyMap(matrix, lens, eye, target, size, cv2.CV_32FC1)
    answer[f"{name}/map"] = np.stack(maps, axis=-1)
    answer[f"{name}/remapped"] = cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderValue=(0, 0, 0))
np.savez(sys.argv[2], **answer)
