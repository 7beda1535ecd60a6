"""The state machine's Lua sources: listing this folder lists every atomic operation.

engine/scripts.py composes them; nothing else reads them.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
"""Where the .lua files are."""
