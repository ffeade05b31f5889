-- The aircraft that a carrier flew on a route in the last 28 days: typical seats and age. Which aircraft
-- will fly is not known at midnight, and the registry knows four in five of those that flew.
WITH flown AS (
    SELECT
        CAST(o.ds AS DATE) AS day,
        o.carrier,
        o.origin,
        o.dest,
        count(o.tailnum) AS flights,
        count(p.tailnum) AS registered,
        sum(p.seats) AS seats,
        count(p.seats) AS with_seats,
        sum(p.year) AS build_years,
        count(p.year) AS with_build_year
    FROM outcomes AS o
    LEFT JOIN planes AS p ON o.tailnum = p.tailnum
    GROUP BY o.ds, o.carrier, o.origin, o.dest
),

asked AS (
    SELECT DISTINCT p.day, s.carrier, s.origin, s.dest
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
),

timeline AS (
    SELECT *, FALSE AS is_asked FROM flown
    UNION ALL
    SELECT *, 0, 0, 0, 0, 0, 0, TRUE AS is_asked FROM asked
),

numbered AS (
    SELECT
        *,
        concat_ws('|', carrier, origin, dest) AS thing,
        CAST(date_diff('day', DATE '2000-01-01', day) AS INTEGER) AS day_number
    FROM timeline
),

counted AS (
    SELECT
        day, carrier, origin, dest, is_asked,
        sum(flights) OVER last_28 AS flights,
        sum(registered) OVER last_28 AS registered,
        sum(seats) OVER last_28 AS seats,
        sum(with_seats) OVER last_28 AS with_seats,
        sum(build_years) OVER last_28 AS build_years,
        sum(with_build_year) OVER last_28 AS with_build_year
    FROM numbered
    WINDOW
        last_28 AS (
            PARTITION BY thing ORDER BY day_number RANGE BETWEEN 27 PRECEDING AND CURRENT ROW
        )
)

SELECT
    p.ds,
    c.carrier,
    c.origin,
    c.dest,
    p.clock AS event_timestamp,
    p.clock AS created_timestamp,
    CAST(c.seats / nullif(c.with_seats, 0) AS FLOAT) AS aircraft_seats_mean_28d,
    CAST(
        (year(p.day) * c.with_build_year - c.build_years) / nullif(c.with_build_year, 0) AS FLOAT
    ) AS aircraft_age_mean_28d,
    CAST(c.registered / nullif(c.flights, 0) AS FLOAT) AS aircraft_registered_share_28d
FROM counted AS c
INNER JOIN partitions AS p ON c.day = p.day
WHERE c.is_asked
