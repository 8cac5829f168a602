"""How a training script ends: an error is one line, not a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from subprocess import CalledProcessError

from sargan_plugin.errors import SarganError


def run_script(main: Callable[[], None]) -> None:
    """Call ``main``; a problem its reader can mend is one line on stderr and exit code 1."""
    try:
        main()
    except (SarganError, OSError, CalledProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
