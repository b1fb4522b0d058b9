"""Runs a node until it is told to stop: clean on SIGINT and SIGTERM, alive after errors in callbacks."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from understudy_ros.student_node import StudentNode
from understudy_ros.transitions import answer_forbidden_transitions

_LONGEST_NAP_S = 0.1


def run_node(make_node: Callable[[], StudentNode]) -> None:
    """Start, spin, stop; for the `main` of a node.

    rclpy's own signal handlers interrupt whatever runs, and a callback's error would end the process: neither here.
    The end has an order: executor, node, context.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
        answer_forbidden_transitions(node)
    except Exception as error:  # a params file with a wrong type, say; the reason is enough
        rclpy.try_shutdown()
        sys.exit(f"cannot start: {type(error).__name__}: {error}")
    with _ForwardedLog(node):
        _spin(node, stop)
        node.release()
    node.destroy_node()
    rclpy.try_shutdown()


def _spin(node: StudentNode, stop: threading.Event) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not (stop.is_set() or node.finished):
        try:
            executor.spin_once(timeout_sec=_LONGEST_NAP_S)
        except Exception as error:  # of a callback, or rcl's about a transition that is not allowed
            node.get_logger().error(f"went on after {type(error).__name__}: {error}")
    executor.shutdown()


class _ForwardedLog(logging.Handler):
    """What the library logs, in the node's log while this is entered."""

    def __init__(self, node: StudentNode) -> None:
        super().__init__(logging.WARNING)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self._logger.error(self.format(record))
        else:
            self._logger.warning(self.format(record))

    def __enter__(self) -> None:
        logging.getLogger("understudy").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("understudy").removeHandler(self)
