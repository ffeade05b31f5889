-- What became of each flight, and the instant from which that could be known.
--
-- A landed flight is known when it landed: scheduled arrival + arr_delay. The scheduled arrival is the
-- first instant, not before the scheduled departure, at which clocks at the destination show
-- sched_arr_time (no scheduled flight takes a day: the longest, to Honolulu, takes under twelve hours).
-- The other way to get there, the actual departure and the reported arr_time, agrees to the minute for
-- 327,345 of 327,346 landed flights. The one exception landed in Los Angeles at 01:14 on 2013-11-03, an
-- hour that happened twice; its air time fits the first one, which this way finds and arr_time cannot.
--
-- A cancelled flight is known at the end of its local day. A diverted one too, or when it was due if it
-- was still flying at that hour: nobody knows of a diversion before it happens.
WITH zones AS (
    SELECT faa, tzone FROM airports
    UNION ALL
    -- destinations that the airports file lacks
    SELECT faa, tzone
    FROM (
        VALUES
        ('BQN', 'America/Puerto_Rico'), ('PSE', 'America/Puerto_Rico'),
        ('SJU', 'America/Puerto_Rico'), ('STT', 'America/St_Thomas')
    ) AS missing (faa, tzone)
),

departures AS (
    SELECT
        f.*,
        z.tzone,
        make_date(f.year, f.month, f.day) AS flight_date,
        f.time_hour + to_minutes(f.minute) AS scheduled_departure,
        (f.time_hour + to_minutes(f.minute)) AT TIME ZONE z.tzone AS departure_at_dest
    FROM flights AS f
    LEFT JOIN zones AS z ON f.dest = z.faa
),

-- 2400 is the midnight that ends the day: minutes are added, never parsed as a time
arrivals AS (
    SELECT
        *,
        date_trunc('day', departure_at_dest)
        + to_minutes((sched_arr_time // 100) * 60 + sched_arr_time % 100) AS same_day_arrival
    FROM departures
),

due AS (
    SELECT
        *,
        (CASE
            WHEN same_day_arrival < departure_at_dest THEN same_day_arrival + to_days(1)
            ELSE same_day_arrival
        END) AT TIME ZONE tzone AS scheduled_arrival,
        (CAST(flight_date AS TIMESTAMP) + to_days(1)) AT TIME ZONE 'America/New_York'
        - to_microseconds(1) AS end_of_day
    FROM arrivals
),

known AS (
    SELECT
        *,
        CASE
            WHEN dep_time IS NULL THEN end_of_day
            WHEN arr_delay IS NULL
                THEN greatest(end_of_day, scheduled_arrival + to_minutes(coalesce(dep_delay, 0)))
            ELSE scheduled_arrival + to_minutes(arr_delay)
        END AS known_at
    FROM due
)

SELECT
    flight_date,
    carrier,
    flight,
    origin,
    dest,
    hour AS sched_dep_hour,
    tailnum,
    dep_time,
    dep_delay,
    arr_time,
    arr_delay,
    air_time,
    dep_time IS NULL AS cancelled,
    dep_time IS NOT NULL AND arr_delay IS NULL AS diverted,
    arr_delay IS NULL OR arr_delay > 15 AS disrupted,
    known_at,
    -- known during this local day, so delivered to the run at the midnight that ends it
    CAST(known_at AT TIME ZONE 'America/New_York' AS DATE) + 1 AS known_day
FROM known
ORDER BY known_day, flight_date, carrier, flight, origin
