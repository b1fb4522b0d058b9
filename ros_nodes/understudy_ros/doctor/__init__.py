"""A look at a running vehicle, for `understudy doctor`."""

from understudy_ros.doctor.looking import look

__all__ = ["look"]
