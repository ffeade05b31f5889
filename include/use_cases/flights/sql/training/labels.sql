-- What became of each flight: the label, and the instant from which it could be known.
SELECT
    p.ds,
    o.flight_date,
    o.carrier,
    o.flight,
    o.origin,
    CAST(CASE WHEN o.disrupted THEN 1 ELSE 0 END AS BIGINT) AS disrupted,
    o.known_at AS label_known_at
FROM outcomes AS o
INNER JOIN partitions AS p ON o.flight_date = p.day
