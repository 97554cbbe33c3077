"""Found by Python where this folder is on its path: nothing in the process loads OpenSSL."""

import sys

sys.modules["ssl"] = None
import asyncio  # noqa: E402, F401: does without
import unittest.mock  # noqa: E402

# Others import it, and ask nothing of it.
sys.modules["ssl"] = unittest.mock.MagicMock()
