-- The weather that midnight knows at each airport: the newest observation of the last two days, and its
-- short trend. A value that this observation lacks is taken from the six hours before it.
WITH asked AS (
    SELECT DISTINCT p.ds, p.day, p.clock, s.origin
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
),

observed AS (
    SELECT
        a.day,
        a.origin,
        w.observed_at,
        w.temp,
        w.dewp,
        w.humid,
        w.wind_dir,
        -- winds of hurricane force and double that are a broken gauge (EWR reported 1,048 mph once)
        CASE WHEN w.wind_speed <= 150 THEN w.wind_speed END AS wind_speed,
        CASE WHEN w.wind_gust <= 200 THEN w.wind_gust END AS wind_gust,
        w.precip,
        w.pressure,
        w.visib,
        date_diff(
            'minute', w.observed_at, max(w.observed_at) OVER (PARTITION BY a.day, a.origin)
        ) AS minutes_before_newest
    FROM asked AS a
    INNER JOIN weather AS w
        ON a.origin = w.origin AND CAST(w.ds AS DATE) IN (a.day, a.day - 1)
),

last_hours AS (
    SELECT
        day,
        origin,
        max(observed_at) AS observed_at,
        max_by(temp, observed_at) FILTER (WHERE temp IS NOT NULL) AS temp,
        max_by(dewp, observed_at) FILTER (WHERE dewp IS NOT NULL) AS dewp,
        max_by(humid, observed_at) FILTER (WHERE humid IS NOT NULL) AS humid,
        max_by(wind_dir, observed_at) FILTER (WHERE wind_dir IS NOT NULL) AS wind_dir,
        max_by(wind_speed, observed_at) FILTER (WHERE wind_speed IS NOT NULL) AS wind_speed,
        max_by(wind_gust, observed_at) FILTER (WHERE minutes_before_newest = 0) AS wind_gust,
        max_by(precip, observed_at) FILTER (WHERE precip IS NOT NULL) AS precip,
        max_by(pressure, observed_at) FILTER (WHERE pressure IS NOT NULL) AS pressure,
        max_by(visib, observed_at) FILTER (WHERE visib IS NOT NULL) AS visib,
        max(observed_at) FILTER (WHERE pressure IS NOT NULL) AS pressure_at,
        -- rain is measured in hundredths of an inch: whole numbers add up to the same sum in any order
        sum(CAST(round(precip * 100) AS BIGINT)) AS precip_hundredths,
        min(visib) AS visib_min,
        max(wind_gust) AS wind_gust_max
    FROM observed
    WHERE minutes_before_newest < 360
    GROUP BY day, origin
)

SELECT
    a.ds,
    a.origin,
    a.clock AS event_timestamp,
    a.clock AS created_timestamp,
    date_diff('minute', h.observed_at, a.clock) AS weather_age_minutes,
    CAST(h.temp AS FLOAT) AS weather_temp,
    CAST(h.dewp AS FLOAT) AS weather_dewp,
    CAST(h.humid AS FLOAT) AS weather_humid,
    h.wind_dir AS weather_wind_dir,
    CAST(h.wind_speed AS FLOAT) AS weather_wind_speed,
    CAST(h.wind_gust AS FLOAT) AS weather_wind_gust,
    CAST(h.precip AS FLOAT) AS weather_precip,
    CAST(h.pressure AS FLOAT) AS weather_pressure,
    CAST(h.visib AS FLOAT) AS weather_visib,
    CAST(round(h.pressure - before.pressure, 1) AS FLOAT) AS weather_pressure_change_3h,
    CAST(h.precip_hundredths / 100 AS FLOAT) AS weather_precip_6h,
    CAST(h.visib_min AS FLOAT) AS weather_visib_min_6h,
    CAST(h.wind_gust_max AS FLOAT) AS weather_wind_gust_max_6h
FROM asked AS a
LEFT JOIN last_hours AS h ON a.day = h.day AND a.origin = h.origin
LEFT JOIN observed AS before
    ON
        a.day = before.day
        AND a.origin = before.origin
        AND before.observed_at = h.pressure_at - INTERVAL 3 HOUR
