-- Outcomes of the last 1, 3, 7 and 28 days for everything that is scheduled on each asked day, at six
-- grains. The history views only pick a grain and name its columns.
--
-- A window is made of partitions: the outcomes of partitions D-k+1..D became known during the k local
-- days before clock(D). Everything is counted and summed in whole numbers and divided once at the end,
-- so that no result depends on threads, or on how many days are asked at a time.
WITH happened AS (
    SELECT
        CAST(ds AS DATE) AS day,
        carrier,
        flight,
        origin,
        dest,
        sched_dep_hour,
        GROUPING_ID(carrier, flight, origin, dest, sched_dep_hour) AS ungrouped,
        count(*) AS flights,
        count(*) FILTER (WHERE disrupted) AS disrupted,
        count(*) FILTER (WHERE cancelled) AS cancelled,
        count(arr_delay) AS landed,
        CAST(sum(arr_delay) AS BIGINT) AS arr_delay,
        count(dep_delay) AS departed,
        CAST(sum(dep_delay) AS BIGINT) AS dep_delay
    FROM outcomes
    GROUP BY GROUPING SETS (
        (ds, carrier), (ds, origin), (ds, dest), (ds, origin, dest), (ds, carrier, flight),
        (ds, origin, sched_dep_hour)
    )
),

asked AS (
    SELECT
        p.day,
        s.carrier,
        s.flight,
        s.origin,
        s.dest,
        s.sched_dep_hour,
        GROUPING_ID(s.carrier, s.flight, s.origin, s.dest, s.sched_dep_hour) AS ungrouped
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
    GROUP BY GROUPING SETS (
        (p.day, s.carrier), (p.day, s.origin), (p.day, s.dest), (p.day, s.origin, s.dest),
        (p.day, s.carrier, s.flight), (p.day, s.origin, s.sched_dep_hour)
    )
),

-- for each thing, the days on which something became known of it and the days for which it is asked
timeline AS (
    SELECT *, FALSE AS is_asked FROM happened
    UNION ALL
    SELECT *, 0, 0, 0, 0, 0, 0, 0, TRUE AS is_asked FROM asked
),

named AS (
    SELECT
        *,
        CASE ungrouped
            WHEN 15 THEN 'carrier'
            WHEN 27 THEN 'origin'
            WHEN 29 THEN 'dest'
            WHEN 25 THEN 'route'
            WHEN 7 THEN 'flight'
            WHEN 26 THEN 'hour'
        END AS grain,
        -- one text instead of six columns: windows over it take half the time
        concat_ws('|', ungrouped, carrier, flight, origin, dest, sched_dep_hour) AS thing,
        CAST(date_diff('day', DATE '2000-01-01', day) AS INTEGER) AS day_number
    FROM timeline
),

counted AS (
    SELECT
        day, grain, carrier, flight, origin, dest, sched_dep_hour, is_asked,
        sum(flights) OVER last_1 AS flights_1d,
        sum(disrupted) OVER last_1 AS disrupted_1d,
        sum(cancelled) OVER last_1 AS cancelled_1d,
        sum(landed) OVER last_1 AS landed_1d,
        sum(arr_delay) OVER last_1 AS arr_delay_1d,
        sum(departed) OVER last_1 AS departed_1d,
        sum(dep_delay) OVER last_1 AS dep_delay_1d,
        sum(flights) OVER last_3 AS flights_3d,
        sum(disrupted) OVER last_3 AS disrupted_3d,
        sum(cancelled) OVER last_3 AS cancelled_3d,
        sum(landed) OVER last_3 AS landed_3d,
        sum(arr_delay) OVER last_3 AS arr_delay_3d,
        sum(departed) OVER last_3 AS departed_3d,
        sum(dep_delay) OVER last_3 AS dep_delay_3d,
        sum(flights) OVER last_7 AS flights_7d,
        sum(disrupted) OVER last_7 AS disrupted_7d,
        sum(cancelled) OVER last_7 AS cancelled_7d,
        sum(landed) OVER last_7 AS landed_7d,
        sum(arr_delay) OVER last_7 AS arr_delay_7d,
        sum(departed) OVER last_7 AS departed_7d,
        sum(dep_delay) OVER last_7 AS dep_delay_7d,
        sum(flights) OVER last_28 AS flights_28d,
        sum(disrupted) OVER last_28 AS disrupted_28d,
        sum(cancelled) OVER last_28 AS cancelled_28d,
        sum(landed) OVER last_28 AS landed_28d,
        sum(arr_delay) OVER last_28 AS arr_delay_28d,
        sum(departed) OVER last_28 AS departed_28d,
        sum(dep_delay) OVER last_28 AS dep_delay_28d
    FROM named
    WINDOW
        last_1 AS (
            PARTITION BY thing ORDER BY day_number RANGE BETWEEN 0 PRECEDING AND CURRENT ROW
        ),
        last_3 AS (
            PARTITION BY thing ORDER BY day_number RANGE BETWEEN 2 PRECEDING AND CURRENT ROW
        ),
        last_7 AS (
            PARTITION BY thing ORDER BY day_number RANGE BETWEEN 6 PRECEDING AND CURRENT ROW
        ),
        last_28 AS (
            PARTITION BY thing ORDER BY day_number RANGE BETWEEN 27 PRECEDING AND CURRENT ROW
        )
)

SELECT
    p.ds,
    p.clock,
    c.grain,
    c.carrier,
    c.flight,
    c.origin,
    c.dest,
    c.sched_dep_hour,
    CAST(c.flights_1d AS BIGINT) AS flights_1d,
    CAST(c.disrupted_1d / nullif(c.flights_1d, 0) AS FLOAT) AS disrupted_rate_1d,
    CAST(c.cancelled_1d / nullif(c.flights_1d, 0) AS FLOAT) AS cancelled_rate_1d,
    CAST(c.arr_delay_1d / nullif(c.landed_1d, 0) AS FLOAT) AS arr_delay_mean_1d,
    CAST(c.dep_delay_1d / nullif(c.departed_1d, 0) AS FLOAT) AS dep_delay_mean_1d,
    CAST(c.flights_3d AS BIGINT) AS flights_3d,
    CAST(c.disrupted_3d / nullif(c.flights_3d, 0) AS FLOAT) AS disrupted_rate_3d,
    CAST(c.cancelled_3d / nullif(c.flights_3d, 0) AS FLOAT) AS cancelled_rate_3d,
    CAST(c.arr_delay_3d / nullif(c.landed_3d, 0) AS FLOAT) AS arr_delay_mean_3d,
    CAST(c.dep_delay_3d / nullif(c.departed_3d, 0) AS FLOAT) AS dep_delay_mean_3d,
    CAST(c.flights_7d AS BIGINT) AS flights_7d,
    CAST(c.disrupted_7d / nullif(c.flights_7d, 0) AS FLOAT) AS disrupted_rate_7d,
    CAST(c.cancelled_7d / nullif(c.flights_7d, 0) AS FLOAT) AS cancelled_rate_7d,
    CAST(c.arr_delay_7d / nullif(c.landed_7d, 0) AS FLOAT) AS arr_delay_mean_7d,
    CAST(c.dep_delay_7d / nullif(c.departed_7d, 0) AS FLOAT) AS dep_delay_mean_7d,
    CAST(c.flights_28d AS BIGINT) AS flights_28d,
    CAST(c.disrupted_28d / nullif(c.flights_28d, 0) AS FLOAT) AS disrupted_rate_28d,
    CAST(c.cancelled_28d / nullif(c.flights_28d, 0) AS FLOAT) AS cancelled_rate_28d,
    CAST(c.arr_delay_28d / nullif(c.landed_28d, 0) AS FLOAT) AS arr_delay_mean_28d,
    CAST(c.dep_delay_28d / nullif(c.departed_28d, 0) AS FLOAT) AS dep_delay_mean_28d
FROM counted AS c
INNER JOIN partitions AS p ON c.day = p.day
WHERE c.is_asked
