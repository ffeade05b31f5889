"""Where workers run: leases on this machine's GPUs and CPU slots, worker processes, and what they used."""
