"""OpenCV, imported when it is first needed: it belongs to the `[eval]` extra."""

from __future__ import annotations

from types import ModuleType

from luab_data.console import install_command
from luab_data.errors import OptionError


def opencv() -> ModuleType:
    """The module cv2, or the error that says how to get it."""
    try:
        import cv2
    except ImportError as error:
        raise OptionError(
            f"cv2 cannot be imported ({error}); expected OpenCV, which resizes score maps and finds"
            f" their contours. Install it: {install_command('eval')}"
        ) from error
    return cv2
