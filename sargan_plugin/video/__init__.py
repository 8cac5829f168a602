"""Video: the photo editor on every frame, without jitter and without loss around the faces."""

from __future__ import annotations

import av

from sargan_plugin.errors import SarganError

# set_display_matrix and set_chapters came then; without them a phone's clip would lie on its side.
NEEDED = 18

if int(av.__version__.split(".")[0]) < NEEDED:
    raise SarganError(
        f"Video needs PyAV {NEEDED} or newer, which needs Python 3.11; "
        f"installed is {av.__version__}."
    )
