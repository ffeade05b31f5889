"""What every folder uses: errors, settings, partitions, the SQL engine. Imports nothing else of ``include``."""
