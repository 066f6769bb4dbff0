# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`python -m star_trl.report <output_dir>`"""

import sys

from .write import write_report


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m star_trl.report <output_dir>")
    sys.stdout.write(f"{write_report(sys.argv[1])}\n")
