"""What `/tf_static` says about where things sit, across as many frames as there are between two of them."""

from __future__ import annotations

from typing import Any

from understudy.errors import GeometryError
from understudy.messages.transforms import pose_from_transform
from understudy.pose import Pose


class FrameTree:
    """Static transforms as they come; a later one of the same child takes the earlier one's place, as in tf2."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Pose]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no transform came yet."""
        return not self._parents

    def add(self, message: Any) -> None:
        """Takes the transforms of a `tf2_msgs/TFMessage`, all or none.

        Raises:
            GeometryError: when a rotation is none, or frames would be their own parents.
        """
        parents = dict(self._parents)
        for entry in message.transforms:
            child, parent = _frame(entry.child_frame_id), _frame(entry.header.frame_id)
            parents[child] = (parent, pose_from_transform(entry.transform))
        for child in parents:
            _refuse_cycle(parents, child)
        self._parents = parents

    def pose(self, target: str, source: str) -> Pose | None:
        """`target_from_source`, or None where no chain of transforms joins the two frames."""
        root_from_target, root_from_source = self._from_ancestors(_frame(target)), self._from_ancestors(_frame(source))
        for ancestor, ancestor_from_source in root_from_source.items():
            if ancestor in root_from_target:
                return root_from_target[ancestor].inverse() @ ancestor_from_source
        return None

    def _from_ancestors(self, frame: str) -> dict[str, Pose]:
        """`ancestor_from_frame` of the frame itself and all above it, the nearest first."""
        found = {frame: Pose.identity()}
        here = frame
        while here in self._parents:
            parent, parent_from_here = self._parents[here]
            found[parent] = parent_from_here @ found[here]
            here = parent
        return found


def _frame(name: Any) -> str:
    """A frame id; a leading slash is ROS 1's."""
    return str(name).lstrip("/")


def _refuse_cycle(parents: dict[str, tuple[str, Pose]], frame: str) -> None:
    seen, here = {frame}, frame
    while here in parents:
        here = parents[here][0]
        if here in seen:
            raise GeometryError("/tf_static", found=f"{here} above itself", wanted="a tree of frames")
        seen.add(here)
