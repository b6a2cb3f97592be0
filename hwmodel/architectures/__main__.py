"""Write all tables: ``python -m hwmodel.architectures [FOLDER]``."""

import sys

from hwmodel.architectures import main

main(*sys.argv[1:])
