-- How many of the day's flights leave New York for the same destination, that day and in that hour.
WITH hours AS (
    SELECT p.ds, p.clock, s.dest, s.sched_dep_hour, count(*) AS flights
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
    GROUP BY p.ds, p.clock, s.dest, s.sched_dep_hour
)

SELECT
    ds,
    dest,
    sched_dep_hour,
    clock AS event_timestamp,
    clock AS created_timestamp,
    flights AS dest_hour_scheduled,
    CAST(sum(flights) OVER (PARTITION BY ds, dest) AS BIGINT) AS dest_scheduled
FROM hours
