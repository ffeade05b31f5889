-- How full each hour of the day's schedule is at each airport.
WITH hours AS (
    SELECT p.ds, p.clock, s.origin, s.sched_dep_hour, count(*) AS flights
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
    GROUP BY p.ds, p.clock, s.origin, s.sched_dep_hour
)

SELECT
    ds,
    origin,
    sched_dep_hour,
    clock AS event_timestamp,
    clock AS created_timestamp,
    flights AS hour_scheduled,
    -- by value of the hour, not by row: an hour without flights is a gap, not a neighbour
    CAST(sum(flights) OVER (
        PARTITION BY ds, origin ORDER BY sched_dep_hour RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING
    ) AS BIGINT) AS hour_scheduled_around,
    CAST(sum(flights) OVER (
        PARTITION BY ds, origin ORDER BY sched_dep_hour RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS BIGINT) AS hour_scheduled_earlier,
    CAST(sum(flights) OVER (PARTITION BY ds, origin) AS BIGINT) AS origin_scheduled,
    CAST(flights / sum(flights) OVER (PARTITION BY ds, origin) AS FLOAT) AS hour_share_of_origin
FROM hours
