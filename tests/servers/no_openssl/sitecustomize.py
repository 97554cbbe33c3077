"""Found by Python where this folder is on its path: nothing in the process loads OpenSSL."""

import sys
import unittest.mock

sys.modules["ssl"] = None
import asyncio  # noqa: E402, F401: does without

# Others import it, and ask nothing of it.
sys.modules["ssl"] = unittest.mock.MagicMock()
