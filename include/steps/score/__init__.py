"""Score: predict partitions with the champion of their clock, recalibrated where the spec asks for it."""
