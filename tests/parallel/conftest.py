"""The programs of this folder, and what they share, are found by their names."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
