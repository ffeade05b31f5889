"""Attacks on data, models, pages and routes, and what stops each. ``docs/reliability.md`` has the table."""
