"""``python -m sargan_cli``."""

from __future__ import annotations

import sys

from sargan_cli.app import main

sys.exit(main())
