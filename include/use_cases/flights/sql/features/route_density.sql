-- How many flights a day's schedule has on each route, and how much of route and airport is the carrier's.
WITH flown AS (
    SELECT p.ds, p.clock, s.carrier, s.origin, s.dest, count(*) AS flights
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
    GROUP BY p.ds, p.clock, s.carrier, s.origin, s.dest
),

summed AS (
    SELECT
        *,
        CAST(sum(flights) OVER (PARTITION BY ds, origin, dest) AS BIGINT) AS on_route,
        CAST(sum(flights) OVER (PARTITION BY ds, carrier, origin) AS BIGINT) AS of_carrier_at_origin,
        CAST(sum(flights) OVER (PARTITION BY ds, origin) AS BIGINT) AS at_origin
    FROM flown
)

SELECT
    ds,
    carrier,
    origin,
    dest,
    clock AS event_timestamp,
    clock AS created_timestamp,
    on_route AS route_scheduled,
    flights AS route_carrier_scheduled,
    CAST(flights / on_route AS FLOAT) AS route_carrier_share,
    of_carrier_at_origin AS carrier_origin_scheduled,
    CAST(of_carrier_at_origin / at_origin AS FLOAT) AS carrier_origin_share
FROM summed
