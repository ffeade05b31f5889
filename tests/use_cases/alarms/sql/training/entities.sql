-- The alarms of the hour before the clock.
SELECT p.ds, a.sensor, a.raised_at, a.level, p.clock AS event_timestamp
FROM alarms AS a
INNER JOIN partitions AS p ON a.ds = p.ds
