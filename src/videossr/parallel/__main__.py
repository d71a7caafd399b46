"""`python -m videossr.parallel DESCRIPTOR`: a worker process, started by a supervisor."""

import sys

from videossr.parallel import worker

worker.main(int(sys.argv[1]))
