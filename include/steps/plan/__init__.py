"""What rests on inputs, queries or settings that have changed, why, and what to compute again."""
