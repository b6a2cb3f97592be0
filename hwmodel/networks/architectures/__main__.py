"""Write all tables: ``python -m hwmodel.networks.architectures [FOLDER]``."""

import sys

from hwmodel.networks.architectures import main

main(*sys.argv[1:])
