"""`python -m videossr.cli` and `accelerate launch -m videossr.cli` run the command."""

from videossr.cli import main

main()
