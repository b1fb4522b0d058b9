"""Transitions that a lifecycle node's state does not allow are refused with an answer, under Jazzy as under Kilted."""

from __future__ import annotations

from typing import Any

from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import LifecycleNode


def answer_forbidden_transitions(node: LifecycleNode) -> None:
    """Has `~/change_state` answer with `success: false` where rcl knows no such transition.

    Jazzy's rclpy (7.1) lets rcl's error out of the service: whoever spins the node gets it, and who asked waits for an
    answer for ever. Kilted's answers by itself.
    """
    service = node._service_change_state
    change_state = service.callback

    def answered(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RCLError as error:
            wanted = request.transition.label or request.transition.id
            node.get_logger().error(f"refused transition {wanted}: {error}")
            response.success = False
            return response

    service.callback = answered
