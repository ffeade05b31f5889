-- One row a shop and day, with what its plan says.
SELECT p.ds, s.shop, s.offer, s.weekday, p.clock AS event_timestamp
FROM plan AS s
INNER JOIN partitions AS p ON s.ds = p.ds
