-- Hourly observations. One is published within the hour, so the last that midnight knows is 23:00's.
-- time_hour is the instant; year..hour are local and name 2013-11-03 01:00 twice.
WITH known AS (
    SELECT *, time_hour + to_hours(1) - to_microseconds(1) AS known_at
    FROM weather
)

SELECT
    origin,
    time_hour AS observed_at,
    temp,
    dewp,
    humid,
    wind_dir,
    wind_speed,
    wind_gust,
    precip,
    pressure,
    visib,
    known_at,
    CAST(known_at AT TIME ZONE 'America/New_York' AS DATE) + 1 AS known_day
FROM known
ORDER BY known_day, origin, observed_at
