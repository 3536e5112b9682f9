"""The modules of the fault trials are plain scripts beside each other, as the program that a user starts."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
