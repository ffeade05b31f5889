-- One row a parcel that is due in the week.
SELECT p.ds, d.depot, d.parcel, d.kilos, d.service, p.clock AS event_timestamp
FROM due AS d
INNER JOIN partitions AS p ON d.ds = p.ds
