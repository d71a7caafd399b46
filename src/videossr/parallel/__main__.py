"""`python -m videossr.parallel DESCRIPTOR`: a worker, started and spoken to by a minder."""

import sys

from videossr.parallel import worker

worker.main(int(sys.argv[1]))
