# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The commands of `star-trl`: one module each, with a `main`."""
