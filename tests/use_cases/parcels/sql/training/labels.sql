-- What became of each parcel, and the instant from which it could be known.
SELECT p.ds, a.depot, a.parcel, a.state, a.known_at AS label_known_at
FROM arrivals AS a
INNER JOIN partitions AS p ON a.week = p.day
