# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`python -m star_trl.cli`."""

from . import main


if __name__ == "__main__":
    raise SystemExit(main())
