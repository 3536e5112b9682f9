"""Log lines, and the scalars and entries that the parts of a run share."""

from .console import get_console, live_display_active, set_live_display
from .history_buffer import HistoryBuffer
from .logger import MMLogger, print_log
from .message_hub import MessageHub

__all__ = [
    "HistoryBuffer",
    "MMLogger",
    "MessageHub",
    "get_console",
    "live_display_active",
    "print_log",
    "set_live_display",
]
