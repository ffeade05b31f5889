-- What was behind each alarm, known some hours later. An alarm belongs to the partition that begins after its hour.
SELECT p.ds, o.sensor, o.raised_at, o.real, o.known_at AS label_known_at
FROM outcomes AS o
INNER JOIN partitions AS p ON o.raised_at >= p.clock - INTERVAL 1 HOUR AND o.raised_at < p.clock
