-- How the evening before ended at each airport: the flights scheduled there from 18:00 and from 20:00 on
-- the previous local day, as far as midnight knows what became of them.
-- Those of which it knows nothing yet are either on their way or late: their share is a feature too.
WITH yesterday AS (
    SELECT
        p.day,
        s.origin,
        s.sched_dep_hour >= 18 AS from_18,
        s.sched_dep_hour >= 20 AS from_20,
        o.flight_date IS NOT NULL AS is_known,
        o.disrupted,
        o.dep_delay
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.flight_date = p.day - 1
    LEFT JOIN outcomes AS o
        ON
            p.ds = o.ds
            AND s.flight_date = o.flight_date
            AND s.carrier = o.carrier
            AND s.flight = o.flight
            AND s.origin = o.origin
    WHERE CAST(s.ds AS DATE) = p.day - 1
),

counted AS (
    SELECT
        day,
        origin,
        count(*) FILTER (WHERE from_18) AS flights_18,
        count(*) FILTER (WHERE from_18 AND is_known) AS known_18,
        count(*) FILTER (WHERE from_18 AND disrupted) AS disrupted_18,
        count(dep_delay) FILTER (WHERE from_18) AS departed_18,
        sum(dep_delay) FILTER (WHERE from_18) AS dep_delay_18,
        count(*) FILTER (WHERE from_20) AS flights_20,
        count(*) FILTER (WHERE from_20 AND is_known) AS known_20,
        count(*) FILTER (WHERE from_20 AND disrupted) AS disrupted_20,
        count(dep_delay) FILTER (WHERE from_20) AS departed_20,
        sum(dep_delay) FILTER (WHERE from_20) AS dep_delay_20,
        count(*) FILTER (WHERE NOT from_18 AND is_known) AS known_before,
        count(*) FILTER (WHERE NOT from_18 AND disrupted) AS disrupted_before
    FROM yesterday
    GROUP BY day, origin
),

asked AS (
    SELECT DISTINCT p.ds, p.day, p.clock, s.origin
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
)

SELECT
    a.ds,
    a.origin,
    a.clock AS event_timestamp,
    a.clock AS created_timestamp,
    CAST(c.disrupted_18 / nullif(c.known_18, 0) AS FLOAT) AS evening_disrupted_rate_from_18,
    CAST(c.dep_delay_18 / nullif(c.departed_18, 0) AS FLOAT) AS evening_dep_delay_mean_from_18,
    CAST((c.flights_18 - c.known_18) / nullif(c.flights_18, 0) AS FLOAT) AS evening_unknown_share_from_18,
    CAST(c.disrupted_20 / nullif(c.known_20, 0) AS FLOAT) AS evening_disrupted_rate_from_20,
    CAST(c.dep_delay_20 / nullif(c.departed_20, 0) AS FLOAT) AS evening_dep_delay_mean_from_20,
    CAST((c.flights_20 - c.known_20) / nullif(c.flights_20, 0) AS FLOAT) AS evening_unknown_share_from_20,
    CAST(
        c.disrupted_18 / nullif(c.known_18, 0) - c.disrupted_before / nullif(c.known_before, 0) AS FLOAT
    ) AS evening_disrupted_rate_rise
FROM asked AS a
LEFT JOIN counted AS c ON a.day = c.day AND a.origin = c.origin
