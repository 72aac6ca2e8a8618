"""The measured promises: each one prints a figure, a baseline from the same run, their ratio and the target.

`python -m bench` runs all of them against real shops on the loopback, `python -m bench redeem pdf` some, `--quick` in
less than a minute. Nothing passes or fails here: a shared machine is no judge, so compare ratios.
"""
