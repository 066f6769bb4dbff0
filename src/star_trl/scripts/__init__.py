# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What the commands of `star-trl` do: one module each, with a `main`."""
