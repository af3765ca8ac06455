"""Evaluation: did rewriting help, whom, how much, at what cost? Only the command line imports this."""
